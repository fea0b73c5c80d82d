"""Cut the patches of mouths out of pictures, and paste them back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    PATCH_HEIGHT_PX,
    PATCH_WIDTH_PX,
    affine_places,
    cut_patches,
)

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

_ROOM_PX = 4
"""Kept free around a patch, so that its edge is interpolated like the rest."""


def cut_mouths(
    pictures: Pixels, chosen: Indices, placements: Floats, device: torch.device
) -> Tensor:
    """Cut the patches of chosen pictures.

    Args:
        pictures: uint8 (N, H, W, 3).
        chosen: (B,), numbers of pictures.
        placements: (B, 2, 3), where their patches lie, from `patch_placements`.
        device: device of the patches.

    Returns:
        (B, 3, 128, 160) in [-1, 1].
    """
    reach = _corners(0, 0, PATCH_WIDTH_PX, PATCH_HEIGHT_PX) @ np.swapaxes(placements, -1, -2)
    (x0, y0), (x1, y1) = _box(reach, pictures.shape[2], pictures.shape[1], _ROOM_PX)
    part = torch.from_numpy(pictures[chosen, y0:y1, x0:x1]).to(device)
    image = part.permute(0, 3, 1, 2).float() / 127.5 - 1
    shifted = torch.from_numpy(placements.copy()).to(device)
    shifted[:, :, 2] -= torch.tensor([x0, y0], device=device)
    return cut_patches(image, shifted).clamp(-1, 1)


def paste_mouths(
    frames: Pixels,
    chosen: Indices,
    placements: Floats,
    distances: Tensor,
    patches: Tensor,
    share: Callable[[Tensor], Tensor],
    reach_px: float,
) -> None:
    """Paste patches into chosen frames, in place.

    Args:
        frames: uint8 (N, H, W, 3).
        chosen: (B,), numbers of frames.
        placements: (B, 2, 3), where the patches lie.
        distances: (B, 1, 32, 40), to the inner lips' edge: the first map of `draw_lips`.
        patches: (B, 3, 128, 160) in [-1, 1].
        share: returns how much of the patches shows, 0 to 1, at such distances (B, 1, h, w).
        reach_px: nothing shows farther outside the inner lips, in pixels of the patch.
    """
    device = patches.device
    inside = distances[:, 0].cpu().numpy() > -(reach_px + _ROOM_PX) / DISTANCE_UNIT_PX
    ratio = PATCH_WIDTH_PX / distances.shape[-1]
    rows, columns = inside.any(2).any(0).nonzero()[0], inside.any(1).any(0).nonzero()[0]
    left, right = columns[0] * ratio, (columns[-1] + 1) * ratio
    top, bottom = rows[0] * ratio, (rows[-1] + 1) * ratio
    reach = _corners(left, top, right, bottom) @ np.swapaxes(placements, -1, -2)
    (x0, y0), (x1, y1) = _box(reach, frames.shape[2], frames.shape[1], 1)
    if x0 >= x1 or y0 >= y1:
        return
    turn = np.linalg.inv(placements[..., :2])
    offset = -(turn @ placements[..., 2:])[..., 0]
    inverse = torch.from_numpy(np.concatenate([turn, offset[..., None]], -1)).to(device)
    x = torch.arange(x0, x1, device=device) + 0.5
    y = torch.arange(y0, y1, device=device) + 0.5
    size = torch.tensor([PATCH_WIDTH_PX, PATCH_HEIGHT_PX], device=device)
    places = affine_places(inverse.float(), x, y) * (2 / size) - 1
    distance = functional.grid_sample(
        distances, places, mode="bilinear", padding_mode="border", align_corners=False
    )
    pasted = functional.grid_sample(
        patches, places, mode="bicubic", padding_mode="border", align_corners=False
    )
    region = torch.from_numpy(frames[chosen, y0:y1, x0:x1]).to(device)
    region = region.permute(0, 3, 1, 2).float()
    mixed = region + share(distance) * ((pasted + 1) * 127.5 - region)
    pixels = mixed.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    frames[chosen, y0:y1, x0:x1] = pixels.cpu().numpy()


def _corners(left: float, top: float, right: float, bottom: float) -> Floats:
    """Return the corners of a rectangle, (4, 3), the last coordinate of which is 1."""
    corners = [[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]]
    return np.array(corners, np.float32)


def _box(
    points: Floats, width: int, height: int, margin: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the whole pixels around points (B, N, 2) within a picture: two corners."""
    low = np.floor(points.min((0, 1))).astype(int) - margin
    high = np.ceil(points.max((0, 1))).astype(int) + margin
    limit = np.array([width, height])
    low, high = np.minimum(np.maximum(low, 0), limit - 1), np.minimum(np.maximum(high, 1), limit)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
