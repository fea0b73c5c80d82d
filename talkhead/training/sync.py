"""How far sound and lips are apart: the lag at which the opening agrees best with the sound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from talkhead.media.loudness import frame_levels

Floats = npt.NDArray[np.float32]

MAX_LAG_FRAMES = 8


def loudness(waveform: Floats, num_frames: int, fps: float) -> Floats:
    """Return every frame's level in decibels, at most 50 under the loudest, shape = (T,)."""
    level = frame_levels(waveform, num_frames, fps)
    return np.maximum(level, level.max(initial=-100.0) - 50).astype(np.float32)


def best_lag(
    seen: Floats,
    expected: Floats,
    max_lag: int = MAX_LAG_FRAMES,
    detrend_frames: int | None = 50,
    cost: float = 0.0,
) -> tuple[int, float]:
    """Return the lag of `seen` behind `expected` with the highest Pearson correlation, and that.

    Slow drift is taken out first, if asked: a head that turns or a voice that fades is not lip
    motion.

    Args:
        seen: shape = (T,).
        expected: shape = (T,).
        max_lag: largest lag looked at, in frames, either way.
        detrend_frames: length of the running mean that is subtracted; None leaves the series as
            they are.
        cost: what a frame of lag takes off the correlation in the choice between lags.
    """
    if detrend_frames is not None:
        seen = _without_drift(seen, detrend_frames)
        expected = _without_drift(expected, detrend_frames)
    best, best_score = (0, -1.0), -np.inf
    for lag in range(-max_lag, max_lag + 1):
        a = seen[lag:] if lag >= 0 else seen[:lag]
        b = expected[: len(expected) - lag] if lag >= 0 else expected[-lag:]
        if len(a) < 10 or a.std() < 1e-6 or b.std() < 1e-6:
            continue
        correlation = float(np.corrcoef(a, b)[0, 1])
        if correlation - cost * abs(lag) > best_score:
            best, best_score = (lag, correlation), correlation - cost * abs(lag)
    return best


def _without_drift(values: Floats, length: int) -> Floats:
    if len(values) <= length:
        return np.asarray(values - values.mean(), np.float32)
    kernel = np.ones(length) / length
    padded = np.pad(values, (length // 2, length - 1 - length // 2), mode="edge")
    return (values - np.convolve(padded, kernel, "valid")).astype(np.float32)
