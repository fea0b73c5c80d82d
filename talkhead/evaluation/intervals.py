"""How far a mean over clips can be trusted: bootstrap intervals, of means and of differences.

Clips are drawn again with repetition, and the middle 95 % of the means of such draws is the
interval. Clips of one person are taken as independent of each other, so that with few people the
interval is too narrow for a statement about people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `num` clips, and between which values it lies; None where one clip is all."""

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

    The values are sorted first, so that their order changes nothing.

    Args:
        values: one a clip, finite, at least one.
        num_draws: how often as many clips as there are get drawn.
        confidence: share of the draws' means within the interval.
        seed: of the draws.

    Raises:
        ValueError: no value, or one that is not a number.

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
    """Return the mean of one value a clip with its interval, whatever their order.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    low, high = bootstrap_interval(values) or (None, None)
    return Interval(float(np.sort(_checked(values)).mean()), low, high, len(values))


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return the mean of `after` minus `before` with its interval over clips.

    What makes some clips harder than others cancels out, so that much smaller differences show
    than between two intervals.

    Args:
        before: one value a clip.
        after: the same clips in the same order.

    Raises:
        ValueError: the lengths differ, or as `bootstrap_interval`.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} values are no pairs")
    return mean_interval([late - early for early, late in zip(before, after, strict=True)])


def _checked(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.array(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"a mean needs numbers, not {list(values)}")
    return array
