"""Kernel distance of mouths: how far generated ones are from real ones, as sets.

Unlike the Frechet distance, its estimate has no bias in small sets, so it suits a few hundred
mouths. It is computed on the patches of the two-sample test, in the features of FID's Inception.

Source: Binkowski et al., "Demystifying MMD GANs" (2018), KID.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.evaluation.perceptual import REAL_FEATURES
from talkhead.evaluation.scores import REAL, ClipScores
from talkhead.evaluation.two_sample import PATCHES

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SCALE = 1000
"""Reported times 1,000, as is usual."""


def mouth_distances(
    scores: Iterable[ClipScores], features: Callable[[Pixels], Floats]
) -> dict[str, float]:
    """Return the kernel distances of systems' mouths to the real ones, times 1,000.

    Args:
        scores: scores of all systems on the same clips; those of the real video include the patches
            of the real frames.
        features: maps patches (N, 64, 64, 3) to features (N, D).

    Returns:
        By system; systems with fewer than two opened mouths are left out.
    """
    real: list[Pixels] = []
    generated: dict[str, list[Pixels]] = {}
    for one in scores:
        if one.system == REAL and REAL_FEATURES + PATCHES in one.arrays:
            real.append(one.arrays[REAL_FEATURES + PATCHES])
        if PATCHES in one.arrays:
            generated.setdefault(one.system, []).append(one.arrays[PATCHES])
    if _count(real) < 2:
        return {}
    truth = features(np.concatenate(real))
    return {
        system: SCALE * kernel_distance(features(np.concatenate(patches)), truth)
        for system, patches in generated.items()
        if _count(patches) > 1
    }


def kernel_distance(generated: npt.NDArray[Any], real: npt.NDArray[Any]) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy.

    The kernel is k(x, y) = (x y / D + 1)^3. Sets of the same distribution give values around 0,
    also negative ones.

    Args:
        generated: features (N, D).
        real: features (M, D).

    Raises:
        ValueError: a set has fewer than two features, or the dimensions differ.
    """
    if min(len(generated), len(real)) < 2 or generated.shape[1] != real.shape[1]:
        raise ValueError("two sets of two features or more, of the same dimension, are needed")
    ours, theirs = generated.astype(np.float64), real.astype(np.float64)
    across = _kernel(ours, theirs).mean()
    return float(_mean_of_pairs(ours) + _mean_of_pairs(theirs) - 2 * across)


def _kernel(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    kernel: npt.NDArray[np.float64] = (left @ right.T / left.shape[1] + 1) ** 3
    return kernel


def _mean_of_pairs(features: npt.NDArray[np.float64]) -> float:
    """Return the mean kernel of all pairs of different features."""
    kernel, count = _kernel(features, features), len(features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _count(parts: Sequence[Pixels]) -> int:
    return sum(len(part) for part in parts)
