"""Scores of pictures, as pure functions of arrays.

Frames are uint8 RGB, (T, H, W, 3). Masks are boolean, (T, H, W), and select the pixels to score.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

PEAK = 255.0
MAX_PSNR = 100.0
"""Value for identical frames, in decibels."""
SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
"""Gaussian window of 11 pixels."""
SSIM_RADIUS = 5
SSIM_K = (0.01, 0.03)


def squared_errors(generated: Pixels, truth: Pixels) -> Floats:
    """Return the squared error of every pixel, summed over RGB, (T, H, W)."""
    return np.asarray(np.square(generated.astype(np.float64) - truth).sum(-1))


def frame_errors(errors: Floats, mask: Mask | None = None) -> Floats:
    """Return every frame's mean squared error under a mask, (T,), from `squared_errors`."""
    if mask is None:
        return np.asarray(errors.mean((1, 2)) / 3)
    return np.asarray((errors * mask).sum((1, 2)) / (3 * np.maximum(mask.sum((1, 2)), 1)))


def psnr_of(errors: Floats) -> Floats:
    """Return the peak signal-to-noise ratio in decibels of mean squared errors, 100 at most.

    Average it over frames: the mean of PSNR is not the PSNR of the mean error.
    """
    floor = PEAK**2 * 10 ** (-MAX_PSNR / 10)
    return np.asarray(10 * np.log10(PEAK**2 / np.maximum(errors, floor)))


def whole_windows(size: tuple[int, ...]) -> Mask:
    """Return the pixels of a picture, (H, W), whose SSIM window lies inside the picture.

    The SSIM of a picture is the mean over these, as in the authors' code.
    """
    mask = np.zeros(size, np.bool_)
    mask[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS] = True
    return mask


def ssim_map(generated: Pixels, truth: Pixels) -> Floats:
    """Return the structural similarity around every pixel of a frame, (H, W).

    Gaussian window of 11 pixels with sigma 1.5, on each colour channel separately, then averaged;
    population covariance; data range 255.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment" (2004).
    """
    a, b = generated.astype(np.float64), truth.astype(np.float64)
    c1, c2 = ((k * PEAK) ** 2 for k in SSIM_K)

    def mean(image: Floats) -> Floats:
        sigma = (SSIM_SIGMA, SSIM_SIGMA, 0)
        return np.asarray(gaussian_filter(image, sigma, truncate=SSIM_TRUNCATE))

    a_mean, b_mean = mean(a), mean(b)
    a_variance, b_variance = mean(a * a) - a_mean**2, mean(b * b) - b_mean**2
    covariance = mean(a * b) - a_mean * b_mean
    above = (2 * a_mean * b_mean + c1) * (2 * covariance + c2)
    below = (a_mean**2 + b_mean**2 + c1) * (a_variance + b_variance + c2)
    return np.asarray((above / below).mean(-1))


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


def flicker(generated: Pixels, truth: Pixels, mask: Mask) -> float:
    """Return the mean difference between frame-to-frame changes, 0 to 255.

    Mean absolute difference of these changes, where the masks of both frames overlap.
    """
    changes = [np.diff(frames.astype(np.float64), axis=0) for frames in (generated, truth)]
    both = mask[1:] & mask[:-1]
    apart = np.abs(changes[0] - changes[1]).mean(-1)
    return float((apart * both).sum() / max(both.sum(), 1))


def flow_along(truth: Pixels) -> Floats:
    """Return the position of every pixel in the previous frame, (T - 1, H, W, 2), x and y.

    Farneback's optical flow of the grey pictures, from each frame back to its predecessor.

    Raises:
        ImportError: OpenCV cannot be loaded.
        OSError: a library that OpenCV needs is missing.

    Source: Farneback, "Two-frame motion estimation based on polynomial expansion" (2003).
    """
    import cv2

    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in truth]
    height, width = truth.shape[1:3]
    own = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    shape = (*grey[0].shape, 2)
    flows = [
        own
        + cv2.calcOpticalFlowFarneback(
            after, before, np.zeros(shape, np.float32), 0.5, 3, 15, 3, 5, 1.2, 0
        )
        for before, after in pairwise(grey)
    ]
    return np.asarray(flows, np.float64)


def temporal_mse(generated: Pixels, positions: Floats) -> float:
    """Return Pixel-MSE, 0 to 65,025: the error of each frame against its warped predecessor.

    Each generated frame is compared with the previous generated frame, warped along the optical
    flow of the real video.

    Args:
        generated: at least two frames.
        positions: (T - 1, H, W, 2), from `flow_along` of the real frames.

    Source: Ceylan, Huang and Mitra, "Pix2Video" (2023), which uses another optical flow.
    """
    errors = []
    for before, after, position in zip(generated[:-1], generated[1:], positions, strict=True):
        rows, columns = position[..., 1], position[..., 0]
        for channel in range(3):
            moved = map_coordinates(
                before[..., channel].astype(np.float64), [rows, columns], order=1, mode="nearest"
            )
            errors.append(np.square(moved - after[..., channel]).mean())
    return float(np.mean(errors))
