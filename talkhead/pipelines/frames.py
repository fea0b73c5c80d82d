"""Pass frames on to the caller."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from talkhead.pipelines.output import Frames

Pixels = npt.NDArray[np.uint8]

# Rendering threads must end before the process does, or torch aborts it. A caller that stops
# reading early may keep its generator until then.
_unread: weakref.WeakSet[Generator[Pixels, None, None]] = weakref.WeakSet()


@atexit.register
def _close_unread() -> None:
    for frames in list(_unread):
        frames.close()


def counted(
    frames: Generator[Pixels, None, None], progress_bar: Any
) -> Generator[Pixels, None, None]:
    """Yield frames, and advance a progress bar."""
    with closing(frames), progress_bar:
        for frame in frames:
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
