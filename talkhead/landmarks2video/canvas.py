"""The picture around a face: what of it moves, at the picture's own resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX, Crop, face_crop
from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video.eyes import clear_skin
from talkhead.landmarks2video.warp import Bounds

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

ROOM_PX = 16
"""Margin around the lower face in which the change fades out, crop pixels."""
SIDE_STEP = CROP_SIDE_PX // math.gcd(CROP_SIDE_PX, STAGE_MARGIN_PX, ROOM_PX)
"""Side of a crop is a multiple of this, so that both margins are whole numbers of pixels."""


@dataclass(frozen=True)
class Canvas:
    """A picture and the part of it that is re-rendered in every frame, the stage.

    Attributes:
        picture: uint8 (H, W, 3).
        crop: the square that the networks work on, aligned to whole pixels.
        area: the stage within the picture.
        mesh: (1, 478, 3), mesh of the face in the picture, crop pixels.
        small: (1, 3, 256, 256) in [-1, 1], the crop as the networks see it.
        bounds: the stage, crop pixels.
    """

    picture: Pixels
    crop: Crop
    area: Area
    mesh: Tensor
    small: Tensor
    bounds: Bounds

    @property
    def crop_box(self) -> tuple[int, int, int]:
        """Left, top and side of the crop within the stage; it may extend beyond it."""
        side = round(self.crop.side)
        return (
            round(self.crop.x - side / 2) - self.area.left,
            round(self.crop.y - side / 2) - self.area.top,
            side,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the stage."""
        return self.area.bottom - self.area.top, self.area.right - self.area.left

    @property
    def pixels(self) -> Pixels:
        """The stage, uint8 (h, w, 3)."""
        return self.cut(self.picture)

    def cut(self, pictures: Pixels) -> Pixels:
        """Return the stage's part of pictures of the same size, (..., H, W, C)."""
        left, top, right, bottom = self.area
        part: Pixels = pictures[..., top:bottom, left:right, :]
        return part

    @cached_property
    def stage(self) -> Tensor:
        """The stage, (1, 3, h, w) in [0, 255], on the device."""
        return to_tensor(self.pixels, self.mesh.device)

    @property
    def stage_mesh(self) -> Tensor:
        """(1, 478, 2), mesh of the face in the picture, pixels of the stage."""
        return self.to_stage(self.mesh)

    def to_stage(self, points: Tensor) -> Tensor:
        """Map points (..., 2 or 3) from crop pixels to pixels of the stage; depth is dropped."""
        left, top, _ = self.crop_box
        corner = torch.tensor([left, top], device=points.device)
        return points[..., :2] / self.crop.scale + corner

    @cached_property
    def clear_skin(self) -> tuple[Tensor, Tensor]:
        """How much of the skin above each eye is free, from `eyes.clear_skin`."""
        return clear_skin(self.stage, self.stage_mesh)


def prepare_canvas(
    picture: Pixels,
    identity: Floats,
    device: torch.device,
    crop: Crop | None = None,
    area: Area | None = None,
) -> Canvas:
    """Cut the stage around a face out of a picture; the crop is aligned to whole pixels.

    Args:
        picture: uint8 (H, W, 3).
        identity: (478, 3), mesh of the face, picture pixels.
        device: device of the tensors.
        crop: the square to work on; by default that of the mesh.
        area: the part of the picture that may change; None for all of it.
    """
    crop = crop or face_crop(identity)
    side = max(round(crop.side / SIDE_STEP), 1) * SIDE_STEP
    margin = side * STAGE_MARGIN_PX // CROP_SIDE_PX
    left, top = round(crop.x - side / 2), round(crop.y - side / 2)
    whole = Crop(left + side / 2, top + side / 2, float(side))
    small = to_tensor(whole.extract(picture), device) / 127.5 - 1
    area = area or Area(0, 0, picture.shape[1], picture.shape[0])
    x0, x1 = (min(max(x, area.left), area.right) for x in (left - margin, left + side + margin))
    y0, y1 = (min(max(y, area.top), area.bottom) for y in (top - margin, top + side + margin))
    corners = np.array([[x0, y0], [x1, y1]], np.float32)
    low, high = whole.to_crop(corners).tolist()
    mesh = torch.from_numpy(whole.to_crop(identity)).to(device)[None]
    return Canvas(picture, whole, Area(x0, y0, x1, y1), mesh, small, (*low, *high))


def to_tensor(image: Pixels, device: torch.device) -> Tensor:
    """Return an image, uint8 (H, W, C), as floats, (1, C, H, W) in [0, 255]."""
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
