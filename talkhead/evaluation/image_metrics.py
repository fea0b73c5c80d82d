"""Scores of pictures, pure functions of arrays.

Frames are uint8 RGB, (T, H, W, 3); masks are boolean, (T, H, W), and say where a score looks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

PEAK = 255.0
MAX_PSNR = 100.0
"""What identical frames count as, decibels."""
SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
"""Gaussian window of 11 pixels."""
SSIM_K = (0.01, 0.03)


def psnr(made: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the peak signal-to-noise ratio in decibels: per frame, then the mean over frames.

    Peak 255, over the RGB values under the mask; frames that are identical there count as 100.
    """
    error = np.square(made.astype(np.float64) - truth).sum(-1)
    count = 3 * np.maximum(mask.sum((1, 2)), 1)
    mse = (error * mask).sum((1, 2)) / count
    floor = PEAK**2 * 10 ** (-MAX_PSNR / 10)
    return float((10 * np.log10(PEAK**2 / np.maximum(mse, floor))).mean())


def ssim(made: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the structural similarity: the mean of its map under the mask, over frames.

    Gaussian window of 11 pixels with sigma 1.5, each colour channel by itself, then their mean;
    population covariance; data range 255.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment" (2004).
    """
    rows = []
    for a, b, where in zip(made, truth, mask, strict=True):
        similar = _ssim_map(a.astype(np.float64), b.astype(np.float64)).mean(-1)
        rows.append((similar * where).sum() / max(where.sum(), 1))
    return float(np.mean(rows))


def _ssim_map(a: Floats, b: Floats) -> Floats:
    c1, c2 = ((k * PEAK) ** 2 for k in SSIM_K)

    def mean(image: Floats) -> Floats:
        sigma = (SSIM_SIGMA, SSIM_SIGMA, 0)
        return np.asarray(gaussian_filter(image, sigma, truncate=SSIM_TRUNCATE))

    a_mean, b_mean = mean(a), mean(b)
    a_variance, b_variance = mean(a * a) - a_mean**2, mean(b * b) - b_mean**2
    covariance = mean(a * b) - a_mean * b_mean
    above = (2 * a_mean * b_mean + c1) * (2 * covariance + c2)
    return np.asarray(above / ((a_mean**2 + b_mean**2 + c1) * (a_variance + b_variance + c2)))


def sharpness(frames: Pixels, mask: Mask) -> float:
    """Return the variance of the Laplacian of grey frames under the mask, mean over frames.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (2000).
    """
    grey = frames.astype(np.float64).mean(-1)
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    edges = 4 * grey[:, 1:-1, 1:-1] - around
    inner = mask[:, 1:-1, 1:-1]
    values = [float(e[where].var()) for e, where in zip(edges, inner, strict=True) if where.any()]
    return float(np.mean(values)) if values else 0.0


def flicker(made: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return how differently the frames change from one to the next, 0 to 255.

    Mean absolute difference of the frame-to-frame changes, where both frames' masks are.
    """
    changes = [np.diff(frames.astype(np.float64), axis=0) for frames in (made, truth)]
    both = mask[1:] & mask[:-1]
    apart = np.abs(changes[0] - changes[1]).mean(-1)
    return float((apart * both).sum() / max(both.sum(), 1))
