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
    """Yield the frames of windows, (T, ...), in windows of at least a number of frames."""
    waiting: list[Floats] = []
    for window in windows:
        waiting.append(window)
        if sum(map(len, waiting)) >= num_frames:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def shorten(windows: Iterator[Floats], num_frames: int) -> Iterator[Floats]:
    """Yield windows, (T, ...), in parts of at most a number of frames."""
    for window in windows:
        for start in range(0, len(window), num_frames):
            yield window[start : start + num_frames]
