"""The region of the crop that the denoiser works on: the lower face, aligned to the latents."""

from __future__ import annotations

from typing import TypeVar

from talkhead.geometry.crop import CROP_SIDE_PX

LATENT_PX = 8
"""Pixels per latent position along each axis."""

TOP_PX, BOTTOM_PX = 96, CROP_SIDE_PX
LEFT_PX, RIGHT_PX = 32, 224
REGION_HEIGHT_PX, REGION_WIDTH_PX = BOTTOM_PX - TOP_PX, RIGHT_PX - LEFT_PX

Image = TypeVar("Image")


def lower_face(image: Image, scale: float = 1.0) -> Image:
    """Crop the lower face from crops, (..., H, W) with H = W = 256 * scale."""
    top, bottom = round(TOP_PX * scale), round(BOTTOM_PX * scale)
    left, right = round(LEFT_PX * scale), round(RIGHT_PX * scale)
    cut: Image = image[..., top:bottom, left:right]  # type: ignore[index]
    return cut
