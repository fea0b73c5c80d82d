"""Fine detail of images: measure it, and sharpen images to match a reference."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

MAX_SHARPENING = 2.0


def fine_detail(images: Tensor) -> Tensor:
    """Return what a 3 x 3 binomial blur (weights 1 2 1 each way) removes from (B, C, H, W)."""
    smooth = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):  # summing neighbours twice gives the weights 1 2 1
        smooth = smooth[..., 1:, :] + smooth[..., :-1, :]
        smooth = smooth[..., 1:] + smooth[..., :-1]
    return torch.sub(images, smooth, alpha=1 / 16)


def sharpen(images: Tensor, amount: float) -> Tensor:
    """Add `amount` times their own fine detail to images, (B, C, H, W) in [-1, 1]."""
    return torch.add(images, fine_detail(images), alpha=amount).clamp_(-1, 1)


def matching_sharpening(images: Tensor, model: Tensor) -> float:
    """Return the amount of `sharpen` that gives images as much fine detail as a reference.

    Args:
        images: (B, C, H, W).
        model: (1, C, H, W), reference of the same content.

    Returns:
        From 0, if the images already have more, to `MAX_SHARPENING`.
    """
    detail = fine_detail(images)
    finer = fine_detail(detail)
    # Solve for the amount at which detail + amount * finer has the reference's mean square.
    square = float(finer.square().mean())
    product = float((detail * finer).mean())
    missing = float(fine_detail(model).square().mean() - detail.square().mean())
    if missing <= 0 or square <= 0:
        return 0.0
    amount = (math.sqrt(product**2 + square * missing) - product) / square
    return min(amount, MAX_SHARPENING)
