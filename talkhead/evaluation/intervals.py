"""Bootstrap confidence intervals of means over clips, and of their differences.

Clips are resampled with replacement; the interval is the middle 95 % of the means of the samples.
Clips of one person are treated as independent, so with few people the interval is too narrow for a
statement about people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `num` clips with its interval; the bounds are None for a single clip."""

    mean: float
    low: float | None
    high: float | None
    num: int


def bootstrap_interval(
    values: Sequence[float],
    num_draws: int = NUM_DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean; None for a single value.

    The values are sorted first, so their order does not matter.

    Args:
        values: one per clip, finite, at least one.
        num_draws: number of resamples.
        confidence: share of the resampled means within the interval.
        seed: random seed of the resampling.

    Raises:
        ValueError: there are no values, or one is not finite.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    ordered = np.sort(_checked(values))
    if len(ordered) == 1:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(ordered), (num_draws, len(ordered)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(ordered[drawn].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of one value per clip with its interval, independent of their order.

    Raises:
        ValueError: as for `bootstrap_interval`.
    """
    low, high = bootstrap_interval(values) or (None, None)
    return Interval(float(np.sort(_checked(values)).mean()), low, high, len(values))


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the mean of `after` minus `before` with its interval over clips.

    Pairing cancels the differing difficulty of the clips, so it reveals much smaller differences
    than a comparison of two intervals.

    Args:
        before: one value per clip.
        after: the same clips in the same order.

    Raises:
        ValueError: the lengths differ, or as for `bootstrap_interval`.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} values do not form pairs")
    return mean_interval([late - early for early, late in zip(before, after, strict=True)])


def _checked(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.array(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"a mean needs numbers, not {list(values)}")
    return array
