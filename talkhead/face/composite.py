"""From the small crop back into the picture: the warp at full resolution, corrected by what the denoiser changed."""

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
from talkhead.face.warp import resize_grid, warp_image

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """A picture and the square of it that is made anew in every frame.

    Attributes:
        picture: uint8 (H, W, 3).
        crop: the square, on whole pixels.
        square: (1, 3, S, S) in [0, 255], the crop at the picture's own resolution.
        small: (1, 3, 256, 256) in [-1, 1], the crop as the networks see it.
    """

    picture: Pixels
    crop: Crop
    square: Tensor
    small: Tensor


def prepare_canvas(picture: Pixels, crop: Crop, device: torch.device) -> Canvas:
    """Cut the working square out of a picture; the crop is moved to whole pixels."""
    side = max(round(crop.side), 2)
    left, top = round(crop.x - side / 2), round(crop.y - side / 2)
    whole = Crop(left + side / 2, top + side / 2, float(side))
    square = _to_tensor(whole.extract(picture, side), device)
    small = _to_tensor(whole.extract(picture), device) / 127.5 - 1
    return Canvas(picture, whole, square, small)


def composite(
    canvas: Canvas, grid: Tensor, maps: Tensor, target: Tensor, warped: Tensor, made: Tensor
) -> Pixels:
    """Put frames together.

    Outside the mouth the picture keeps its own fine detail: it is warped at full resolution, and only the
    difference that the denoiser made is added. Inside the opened mouth, where the warp has nothing true to show, the
    denoiser's pixels are taken as they are.

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
    batch = len(grid)
    frames = warp_image(canvas.square.expand(batch, -1, -1, -1), resize_grid(grid, (side, side)))
    frames = frames * cavity_shade(maps, (side, side))
    mask = soft_mask(target, maps)
    mouth = blur(functional.max_pool2d(maps[:, :1], 3, stride=1, padding=1), 1)
    frame = (LEFT_PX, CROP_SIDE_PX - RIGHT_PX, TOP_PX, CROP_SIDE_PX - BOTTOM_PX)
    change = functional.pad((made - warped) * 127.5, frame)
    replaced = functional.pad((made + 1) * 127.5, frame)
    size = (side, side)

    def enlarge(image: Tensor) -> Tensor:
        if image.shape[-1] == side:
            return image
        return functional.interpolate(
            image, size=size, mode="bilinear", align_corners=False, antialias=side < image.shape[-1]
        )

    mask, mouth = enlarge(mask), enlarge(mouth * mask)
    corrected = frames + enlarge(change) * mask
    # Little is gained from the denoiser's pixels over the change while both have the same resolution.
    frames = corrected + (enlarge(replaced) - corrected) * mouth
    squares = frames.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return _paste(canvas, squares)


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

