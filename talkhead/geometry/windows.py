"""Windows of frames: the stages hand meshes over a few frames at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

WINDOW_FRAMES = 16
"""Frames per window, and per call of a renderer's networks on a CPU."""


def split_windows(points: Floats) -> Iterator[Floats]:
    """Yield the meshes of a track, (T, 478, 3), window by window."""
    for start in range(0, len(points), WINDOW_FRAMES):
        yield points[start : start + WINDOW_FRAMES]


def regroup(windows: Iterator[Floats], num_frames: int) -> Iterator[Floats]:
    """Yield the frames of windows, (T, ...), in windows of `num_frames`; the last is the rest."""
    waiting: Floats | None = None
    for window in windows:
        waiting = window if waiting is None else np.concatenate([waiting, window])
        while len(waiting) >= num_frames:
            yield waiting[:num_frames]
            waiting = waiting[num_frames:]
    if waiting is not None and len(waiting):
        yield waiting
