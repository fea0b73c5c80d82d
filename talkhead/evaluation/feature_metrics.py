"""Scores made of the features of networks, pure functions of arrays.

Features come from `talkhead.evaluation.networks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]

SYNC_SHIFTS = 15
"""How far sound is shifted against the picture, frames, either way."""
_SYNC_EPSILON = 1e-6


@dataclass(frozen=True)
class FeatureStatistics:
    """What FID and FVD need of a set of features, additive: of parts, `merge` makes the whole.

    Attributes:
        count: number of feature vectors.
        total: their sum, float64 (D,).
        products: the sum of their outer products, float64 (D, D).
    """

    count: int
    total: npt.NDArray[np.float64]
    products: npt.NDArray[np.float64]

    @staticmethod
    def of(features: Numbers) -> FeatureStatistics:
        """Sum up features, (N, D)."""
        exact = features.astype(np.float64)
        return FeatureStatistics(len(exact), exact.sum(0), exact.T @ exact)

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Return the statistics of both sets together."""
        return FeatureStatistics(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Their mean, (D,)."""
        return self.total / self.count

    @property
    def covariance(self) -> npt.NDArray[np.float64]:
        """Their covariance, (D, D), of a sample: divided by one less than there are."""
        mean = self.mean
        return (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)


def frechet_distance(made: FeatureStatistics, real: FeatureStatistics) -> float:
    """Return the squared Frechet distance of the normal distributions with these moments.

        d2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

    With C = A A', the last trace is the sum of the singular values of A1' A2. That needs no root
    of a product, which is complex where a covariance lacks rank: as it does for fewer features
    than dimensions. Directions whose variance is rounding error are left out of A.

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions"
    (1982). FID is this of Inception's features, FVD of I3D's.

    Raises:
        ValueError: a set has fewer than two features, or other dimensions.
    """
    if min(made.count, real.count) < 2 or made.total.shape != real.total.shape:
        raise ValueError("two sets of two features or more, of the same dimension, are needed")
    factors, traces = [], 0.0
    for covariance in (made.covariance, real.covariance):
        variances, directions = np.linalg.eigh(covariance)
        kept = variances > len(variances) * np.finfo(np.float64).eps * variances.max()
        kept &= variances > 0
        factors.append(directions[:, kept] * np.sqrt(variances[kept]))
        traces += float(np.trace(covariance))
    overlap = np.linalg.svd(factors[0].T @ factors[1], compute_uv=False).sum()
    apart = np.square(made.mean - real.mean).sum()
    return max(float(apart + traces - 2 * overlap), 0.0)


def tlp(made_lpips: Numbers, real_lpips: Numbers) -> float:
    """Return tLP: how far the perceived changes between frames differ from the real ones.

    Source: Chu et al., "Learning temporal coherence via self-supervision for GAN-based video
    generation" (2020), TecoGAN. Often printed times 100.

    Args:
        made_lpips: LPIPS of every made frame and the one before it, (T - 1,).
        real_lpips: the same of the real video.

    Raises:
        ValueError: the lengths differ or there is nothing.
    """
    if made_lpips.shape != real_lpips.shape or not made_lpips.size:
        raise ValueError(f"changes are {made_lpips.shape} and {real_lpips.shape}")
    return float(np.abs(made_lpips.astype(np.float64) - real_lpips).mean())


def sync_scores(video: Numbers, audio: Numbers) -> tuple[float, float, int]:
    """Return LSE-D, LSE-C and the offset of a clip.

    For every shift of -15 to 15 frames, the Euclidean distances of the pictures' embeddings to the
    shifted sound's are averaged over all windows. LSE-D is the smallest average: a delay that
    never changes is not punished, so the offset belongs beside it. LSE-C is the median of the
    averages less the smallest. As in the authors' script, windows that the shift moves out of the
    clip meet zeros, and every difference is 1e-6 too large.

    Source: Chung and Zisserman, "Out of time" (2016); Prajwal et al., "A lip sync expert is all you
    need" (2020); methods as in joonson/syncnet_python.

    Args:
        video: embeddings of windows, (W, D).
        audio: embeddings of the sound at the same windows, (W, D).

    Returns:
        LSE-D (lower is better), LSE-C (higher is better), and the offset, frames; positive: the
        picture is late, what is seen in a window is heard so many frames earlier.

    Raises:
        ValueError: the shapes differ or there is no window.
    """
    if video.shape != audio.shape or not len(video):
        raise ValueError(f"embeddings are {video.shape} and {audio.shape}: no pairs of windows")
    seen = video.astype(np.float64)
    heard = np.pad(audio.astype(np.float64), ((SYNC_SHIFTS, SYNC_SHIFTS), (0, 0)))
    averages = np.array(
        [
            np.linalg.norm(seen - heard[shift : shift + len(seen)] + _SYNC_EPSILON, axis=1).mean()
            for shift in range(2 * SYNC_SHIFTS + 1)
        ]
    )
    best = int(averages.argmin())
    lowest = float(averages[best])
    return lowest, float(np.median(averages)) - lowest, SYNC_SHIFTS - best
