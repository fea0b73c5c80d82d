"""From the crop back into the picture: the full warp, corrected by what the denoiser changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.face.crop import CROP_SIDE_PX, Crop
from talkhead.face.maps import cavity_shade
from talkhead.face.masks import blur, soft_mask
from talkhead.face.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX
from talkhead.face.warp import resize_grid, still_grid, warp_image

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """A picture and the square of it that is made anew in every frame.

    Attributes:
        picture: uint8 (H, W, 3).
        crop: the square, on whole pixels.
        square: (1, 3, S, S) in [0, 255], the crop at the picture's own resolution.
        small: (1, 3, 256, 256) in [-1, 1], the crop as the networks see it.
        still: (1, S, S, 2), the grid that leaves the square as it is.
    """

    picture: Pixels
    crop: Crop
    square: Tensor
    small: Tensor
    still: Tensor


MAX_CHUNK_PIXELS = 2_000_000
"""Frames of large pictures are put together a few at a time, so that memory stays bounded."""


def prepare_canvas(picture: Pixels, crop: Crop, device: torch.device) -> Canvas:
    """Cut the working square out of a picture; the crop is moved to whole pixels."""
    side = max(round(crop.side), 2)
    left, top = round(crop.x - side / 2), round(crop.y - side / 2)
    whole = Crop(left + side / 2, top + side / 2, float(side))
    square = _to_tensor(whole.extract(picture, side), device)
    small = _to_tensor(whole.extract(picture), device) / 127.5 - 1
    return Canvas(picture, whole, square, small, still_grid(side, side, device))


def composite(
    canvas: Canvas, grid: Tensor, maps: Tensor, target: Tensor, warped: Tensor, made: Tensor
) -> Pixels:
    """Put frames together.

    Outside the mouth the picture keeps its own fine detail: it is warped at full resolution, and
    only the difference that the denoiser made is added. Inside the opened mouth, where the warp has
    nothing true to show, the denoiser's pixels are taken as they are.

    Args:
        canvas: the picture.
        grid: (B, 128, 128, 2), sampling grid of the warp.
        maps: (B, 9, 128, 128), conditioning maps.
        target: (B, 478, 3), crop pixels.
        warped: (B, 3, 160, 192), lower face of the warped crop, in [-1, 1].
        made: (B, 3, 160, 192), what the decoder returned.

    Returns:
        uint8 (B, H, W, 3).
    """
    side = canvas.square.shape[-1]
    mask = soft_mask(target, maps)
    mouth = mask * blur(functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1), 1)
    border = (LEFT_PX, CROP_SIDE_PX - RIGHT_PX, TOP_PX, CROP_SIDE_PX - BOTTOM_PX)
    change = functional.pad((made - warped) * 127.5, border)
    replaced = functional.pad((made + 1) * 127.5, border)
    step = max(1, MAX_CHUNK_PIXELS // side**2)
    layers = (grid, maps, mask, mouth, change, replaced)
    squares = [
        _blend(canvas, *(layer[start : start + step] for layer in layers))
        for start in range(0, len(grid), step)
    ]
    return _paste(canvas, np.concatenate(squares))


def _blend(
    canvas: Canvas,
    grid: Tensor,
    maps: Tensor,
    mask: Tensor,
    mouth: Tensor,
    change: Tensor,
    replaced: Tensor,
) -> Pixels:
    """Return the working squares of frames, uint8 (B, S, S, 3)."""
    side = canvas.square.shape[-1]
    size = (side, side)

    def enlarge(image: Tensor) -> Tensor:
        if image.shape[-1] == side:
            return image
        return functional.interpolate(
            image, size=size, mode="bilinear", align_corners=False, antialias=side < image.shape[-1]
        )

    frames = warp_image(
        canvas.square.expand(len(grid), -1, -1, -1), resize_grid(grid, size, canvas.still)
    )
    frames.mul_(cavity_shade(maps, size)).add_(enlarge(change) * enlarge(mask))
    frames.lerp_(enlarge(replaced), enlarge(mouth))
    squares: Pixels = (
        frames.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    )
    return squares


def _paste(canvas: Canvas, squares: Pixels) -> Pixels:
    height, width = canvas.picture.shape[:2]
    side = squares.shape[1]
    left, top = round(canvas.crop.x - side / 2), round(canvas.crop.y - side / 2)
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    out = np.repeat(canvas.picture[None], len(squares), axis=0)
    out[:, y0:y1, x0:x1] = squares[:, y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def _to_tensor(image: Pixels, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
