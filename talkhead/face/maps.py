"""Conditioning maps: everything the denoiser is told about a frame besides the identity's pixels.

One rasterisation of the target mesh gives both the sampling grid of the warp and the maps. The maps, at half of
the crop's resolution, are

    0     mouth opening: 1 inside the inner lips
    1     face: 1 on the mesh
    2-4   place on the mean face (x, y, z): which part of a face this pixel is
    5-7   displacement against the identity (x, y, z): where the warp stretched, and how the head turned
    8     opening of the identity's own mouth, the same everywhere: whether its teeth can be trusted

The dense maps replace contours drawn as lines: they carry the same edges, and depth and motion besides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talkhead.face.crop import CROP_SIDE_PX
from talkhead.face.mesh import MEAN_FACE, MOUTH_TRIANGLES, NUM_SURFACE_POINTS
from talkhead.face.warp import (
    NUM_MESH_TRIANGLES,
    NUM_RING_POINTS,
    rasterize,
    sampling_grid,
    warp_points,
)

NUM_MAPS = 9
MAP_SIDE_PX = CROP_SIDE_PX // 2
DISPLACEMENT_UNIT_PX = 16.0
OPENING_UNIT_PX = 16.0


def draw_maps(identity: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Draw what the renderer needs to turn an identity into a frame.

    Args:
        identity: (B, 478, 3) mesh of the identity image, crop pixels.
        target: (B, 478, 3) mesh of the frame, crop pixels.

    Returns:
        The warp's sampling grid (B, 128, 128, 2) and the conditioning maps (B, 9, 128, 128).
    """
    batch, device = len(target), target.device
    identity = identity.expand_as(target)
    source, goal = warp_points(identity, target, float(CROP_SIDE_PX))
    ratio = MAP_SIDE_PX / CROP_SIDE_PX
    helpers = torch.zeros(2 * NUM_RING_POINTS, 3, device=device)
    places = torch.cat([torch.as_tensor(MEAN_FACE[:NUM_SURFACE_POINTS], device=device), helpers])
    displacement = (goal - source) / DISPLACEMENT_UNIT_PX
    attributes = torch.cat(
        [source[..., :2] * ratio, places.expand(batch, -1, -1), displacement], -1
    )
    values, triangles = rasterize(goal * ratio, attributes, MAP_SIDE_PX)
    grid = sampling_grid(values[:, :2], triangles >= 0)
    is_mouth = torch.zeros(NUM_MESH_TRIANGLES, dtype=torch.bool, device=device)
    is_mouth[torch.as_tensor(MOUTH_TRIANGLES, device=device)] = True
    on_face = (triangles >= 0) & (triangles < NUM_MESH_TRIANGLES)
    mouth = on_face & is_mouth[triangles.clamp(0, NUM_MESH_TRIANGLES - 1)]
    opening = (identity[:, 13, :2] - identity[:, 14, :2]).norm(dim=-1) / OPENING_UNIT_PX
    constant = opening[:, None, None].expand(batch, MAP_SIDE_PX, MAP_SIDE_PX)
    face = on_face.to(values.dtype)
    maps = torch.cat(
        [
            torch.stack([mouth.to(values.dtype), face], 1),
            values[:, 2:5] * face[:, None],
            values[:, 5:],
            constant[:, None].to(values.dtype),
        ],
        1,
    )
    return grid, maps
