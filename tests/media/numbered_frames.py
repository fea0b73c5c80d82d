"""Frames that carry their number, and videos of them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.media.video import VideoWriter

Frames = npt.NDArray[np.uint8]
FPS = Fraction(25)


def counting_frames(count: int, width: int = 96, height: int = 64) -> Frames:
    """Return frames that encode their number in eight bars: dark for 0, light for 1."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    bars = np.repeat(60 + 130 * bits, width // 8, axis=1).astype(np.uint8)
    padded = np.pad(bars, ((0, 0), (0, width - bars.shape[1])), mode="edge")
    return np.broadcast_to(padded[:, None, :, None], (count, height, width, 3)).copy()


def number_of(frame: Frames) -> int:
    width = frame.shape[1] // 8
    centres = frame[frame.shape[0] // 2, width // 2 : 8 * width : width, 1]
    return int(((centres > 125) << np.arange(8)).sum())


def write(path: Path, frames: Frames, *, fps: Fraction = FPS, sound: Path | None = None) -> Path:
    size = (frames.shape[2], frames.shape[1])
    with VideoWriter(path, size=size, fps=fps, sound=sound, overwrite=True) as writer:
        writer.write(frames)
    return path
