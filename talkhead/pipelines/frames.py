"""Pass the frames of `render_frames` on to the caller."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from talkhead.landmarks2video.batching import BATCH_FRAMES
from talkhead.pipelines.output import Frames

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

# Rendering threads must end before the process does, or torch aborts it. A caller that stops
# reading early may keep its generator until then.
_unread: weakref.WeakSet[Generator[Pixels, None, None]] = weakref.WeakSet()


@atexit.register
def _close_unread() -> None:
    for frames in list(_unread):
        frames.close()


def windows_of(points: Floats) -> Iterator[Floats]:
    """Split a track into the windows that the networks take at a time."""
    return (points[start : start + BATCH_FRAMES] for start in range(0, len(points), BATCH_FRAMES))


def noting(windows: Iterator[Floats], seen: list[Floats]) -> Iterator[Floats]:
    """Yield windows, and append each to a list."""
    for points in windows:
        seen.append(points)
        yield points


def counted(
    windows: Generator[Pixels, None, None], progress_bar: Any
) -> Generator[Pixels, None, None]:
    """Yield the frames of windows one by one, and advance a progress bar."""
    with closing(windows), progress_bar:
        for window in windows:
            for frame in window:
                progress_bar.update()
                yield frame


def collected(
    frames: Generator[Pixels, None, None], output_type: str, shape: tuple[int, ...]
) -> Frames:
    """Return the frames as np, pil or generator.

    Args:
        frames: uint8 (H, W, 3) each.
        output_type: one of the three.
        shape: (T, H, W, 3) of all frames.
    """
    if output_type == "generator":
        _unread.add(frames)
        return frames
    with closing(frames):
        if output_type == "pil":
            return [PIL.Image.fromarray(frame) for frame in frames]
        pixels = np.empty(shape, np.uint8)
        for number, frame in enumerate(frames):
            pixels[number] = frame
        return pixels
