"""Scores computed from network features, as pure functions of arrays.

Features come from `talkhead.evaluation.networks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]

SYNC_SHIFTS = 15
"""Largest shift of the sound against the picture, in frames, either way."""
_SYNC_EPSILON = 1e-6


@dataclass(frozen=True)
class FeatureStatistics:
    """Moments of a set of features for FID and FVD; `merge` combines those of parts.

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
        """Their sample covariance, (D, D), with a divisor of one less than the count."""
        mean = self.mean
        return (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)


def frechet_distance(generated: FeatureStatistics, real: FeatureStatistics) -> float:
    """Return the squared Frechet distance of the normal distributions with these moments.

        d2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

    With C = A A', the last trace is the sum of the singular values of A1' A2. This avoids the root
    of a product, which is complex if a covariance is rank-deficient, as it is with fewer features
    than dimensions. Directions whose variance is rounding error are left out of A.

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions"
    (1982). FID is this distance on Inception's features, FVD on I3D's.

    Raises:
        ValueError: a set has fewer than two features, or the dimensions differ.
    """
    if min(generated.count, real.count) < 2 or generated.total.shape != real.total.shape:
        raise ValueError("two sets of two features or more, of the same dimension, are needed")
    factors, traces = [], 0.0
    for covariance in (generated.covariance, real.covariance):
        variances, directions = np.linalg.eigh(covariance)
        kept = variances > len(variances) * np.finfo(np.float64).eps * variances.max()
        kept &= variances > 0
        factors.append(directions[:, kept] * np.sqrt(variances[kept]))
        traces += float(np.trace(covariance))
    overlap = np.linalg.svd(factors[0].T @ factors[1], compute_uv=False).sum()
    apart = np.square(generated.mean - real.mean).sum()
    return max(float(apart + traces - 2 * overlap), 0.0)


def tlp(generated_lpips: Numbers, real_lpips: Numbers) -> float:
    """Return tLP: the difference between perceived frame-to-frame changes and the real ones.

    Source: Chu et al., "Learning temporal coherence via self-supervision for GAN-based video
    generation" (2020), TecoGAN. Often reported times 100.

    Args:
        generated_lpips: LPIPS of every generated frame and its predecessor, (T - 1,).
        real_lpips: the same for the real video.

    Raises:
        ValueError: the lengths differ, or the arrays are empty.
    """
    if generated_lpips.shape != real_lpips.shape or not generated_lpips.size:
        raise ValueError(f"changes are {generated_lpips.shape} and {real_lpips.shape}")
    return float(np.abs(generated_lpips.astype(np.float64) - real_lpips).mean())


def sync_scores(video: Numbers, audio: Numbers) -> tuple[float, float, int]:
    """Return LSE-D, LSE-C and the offset of a clip.

    For every shift of -15 to 15 frames, the Euclidean distances between the pictures' embeddings
    and those of the shifted sound are averaged over all windows. LSE-D is the smallest average: a
    constant delay is not penalised, so always report the offset with it. LSE-C is the median of the
    averages minus the smallest. As in the authors' script, windows that the shift moves out of the
    clip are compared with zeros, and every difference is 1e-6 too large.

    Source: Chung and Zisserman, "Out of time" (2016); Prajwal et al., "A lip sync expert is all you
    need" (2020); methods as in joonson/syncnet_python.

    Args:
        video: embeddings of windows, (W, D).
        audio: embeddings of the sound at the same windows, (W, D).

    Returns:
        LSE-D (lower is better), LSE-C (higher is better), and the offset in frames; if positive,
        the picture lags: its content is heard that many frames earlier.

    Raises:
        ValueError: the shapes differ, or there are no windows.
    """
    if video.shape != audio.shape or not len(video):
        raise ValueError(f"embeddings are {video.shape} and {audio.shape}: no pairs of windows")
    pictures = video.astype(np.float64)
    sound = np.pad(audio.astype(np.float64), ((SYNC_SHIFTS, SYNC_SHIFTS), (0, 0)))
    averages = np.array(
        [
            np.linalg.norm(
                pictures - sound[shift : shift + len(pictures)] + _SYNC_EPSILON, axis=1
            ).mean()
            for shift in range(2 * SYNC_SHIFTS + 1)
        ]
    )
    best = int(averages.argmin())
    lowest = float(averages[best])
    return lowest, float(np.median(averages)) - lowest, SYNC_SHIFTS - best
