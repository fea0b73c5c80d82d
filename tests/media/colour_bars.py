"""Pictures of known colours, and the colours of videos that are read."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.media.video import read_frames

Frames = npt.NDArray[np.uint8]
SDR = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
COLOURS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (180, 120, 90)], np.uint8
)


def frames_of(path: Path) -> Frames:
    return np.stack(list(read_frames(path)))


def colour_bars(width: int, height: int) -> Frames:
    bars = np.repeat(COLOURS, -(-width // len(COLOURS)), axis=0)[:width]
    return np.broadcast_to(bars, (2, height, width, 3)).copy()


def colours_of(frame: Frames) -> npt.NDArray[np.int_]:
    height, width, _ = frame.shape
    columns = (np.arange(len(COLOURS)) * 2 + 1) * width // (2 * len(COLOURS))
    return np.asarray(frame[height // 2, columns], int)
