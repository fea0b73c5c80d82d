"""Series of frames, (T, ...). Frame k shows the moment (k + 1/2) / fps: the middle of its time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_BLOCK_FRAMES = 1000


def resample(values: Floats, fps: Fraction, new_fps: Fraction, num_frames: int) -> Floats:
    """Return the same motion at another frame rate, interpolated linearly between frames.

    Args:
        values: (T, ...), T at least 1.
        fps: its rate.
        new_fps: the new rate.
        num_frames: the new length.

    Returns:
        A new array, (num_frames, ...). It stands still before the middle of the first old frame and
        after the middle of the last one.
    """
    # New frame j lies at (j + 1/2) * step - 1/2 old frames, in whole ticks, so that equal times
    # give equal frames even after hours.
    step = fps / new_fps
    whole = 2 * step.denominator
    ticks = (2 * np.arange(num_frames, dtype=np.int64) + 1) * step.numerator - step.denominator
    ticks = ticks.clip(0, (len(values) - 1) * whole)
    before = ticks // whole
    after = np.minimum(before + 1, len(values) - 1)
    share = (ticks % whole / whole).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    result: Floats = values[before]
    for start in range(0, num_frames, _BLOCK_FRAMES):  # limits memory for long tracks
        part = slice(start, start + _BLOCK_FRAMES)
        result[part] += share[part] * (values[after[part]] - result[part])
    return result
