"""The finest detail of pictures: how much there is, and how to have as much as elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

MAX_SHARPENING = 2.0


def fine_detail(images: Tensor) -> Tensor:
    """Return what the smallest smoothing, weights 1 2 1 either way, takes off (B, C, H, W)."""
    smooth = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):  # two sums of two neighbours make the weights 1 2 1
        smooth = smooth[..., 1:, :] + smooth[..., :-1, :]
        smooth = smooth[..., 1:] + smooth[..., :-1]
    return torch.sub(images, smooth, alpha=1 / 16)


def sharpen(images: Tensor, amount: float) -> Tensor:
    """Add to images, (B, C, H, W) in [-1, 1], their finest detail, `amount` times."""
    return torch.add(images, fine_detail(images), alpha=amount).clamp_(-1, 1)


def matching_sharpening(images: Tensor, model: Tensor) -> float:
    """Return the amount of `sharpen` that gives images as much fine detail as a model has.

    Args:
        images: (B, C, H, W).
        model: (1, C, H, W), of the same things.

    Returns:
        From 0, where they have more already, to `MAX_SHARPENING`.
    """
    detail = fine_detail(images)
    finer = fine_detail(detail)
    # The mean square of detail + amount * finer is to be that of the model's detail.
    square = float(finer.square().mean())
    product = float((detail * finer).mean())
    missing = float(fine_detail(model).square().mean() - detail.square().mean())
    if missing <= 0 or square <= 0:
        return 0.0
    amount = (math.sqrt(product**2 + square * missing) - product) / square
    return min(amount, MAX_SHARPENING)
