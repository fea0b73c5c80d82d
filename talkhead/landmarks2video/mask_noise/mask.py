"""Mask-noise layer: replaces the picture around every landmark with noise.

The network sees who the person is and how the face moves, but never the true pixels.

Source: Vo et al., "Individual audio-driven talking head generation based on sequence of landmark".
The paper gives the formula but not its constants; the values here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskNoiseConfig:
    """Size and shape of the mask around each landmark."""

    kernel_size: int = 11
    """Side of the square in which the Gaussian is drawn, odd, pixels."""
    sigma: float = 2.0
    """Standard deviation of the Gaussian, pixels."""
    threshold: float = 0.1
    """Pixels above this share of the frame's maximum are masked."""


def noise_mask(points: Tensor, size: tuple[int, int], config: MaskNoiseConfig) -> Tensor:
    """Return where the Gaussians of a frame's landmarks exceed the threshold.

    Args:
        points: (B, P, 2), x and y, pixels of the frame; points outside the frame count as far as
            their squares reach into it.
        size: height and width of the frame.
        config: parameters of the Gaussians.

    Returns:
        bool (B, height, width).
    """
    height, width = size
    reach = config.kernel_size // 2
    line = torch.arange(-reach, reach + 1, device=points.device)
    middle = points.round()
    column = middle[..., 0, None, None].long() + line
    row = middle[..., 1, None, None].long() + line[:, None]
    away = (column - points[..., 0, None, None]).square() + (
        row - points[..., 1, None, None]
    ).square()
    # The factor 1 / (2 pi sigma) cancels out: the threshold is relative to the maximum.
    gauss = torch.exp(-away / (2 * config.sigma**2))
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    gauss = gauss * is_inside
    largest = gauss.flatten(1).amax(1)[:, None, None, None]
    above = is_inside & (gauss > config.threshold * largest)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    mask = torch.zeros(len(points), height * width, device=points.device)
    mask.scatter_reduce_(1, place, above.flatten(1).float(), "amax")
    return mask.view(-1, height, width) > 0


def mask_noise(frames: Tensor, points: Tensor, noise: Tensor, config: MaskNoiseConfig) -> Tensor:
    """Replace the pixels around landmarks with noise.

    Args:
        frames: (B, C, H, W).
        points: (B, P, 2), pixels.
        noise: broadcasts to (B, C, H, W), uniform between the frames' minimum and maximum.
        config: parameters of the mask.

    Returns:
        (B, C, H, W).
    """
    mask = noise_mask(points, (frames.shape[-2], frames.shape[-1]), config)
    return torch.where(mask[:, None], noise, frames)
