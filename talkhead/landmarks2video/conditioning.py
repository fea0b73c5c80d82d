"""Conditioning maps: the denoiser's input about a frame, besides the identity's pixels.

A single rasterisation of the target mesh yields both the warp's sampling grid and the maps. The
maps have half the crop's resolution:

    0     mouth opening: 1 inside the inner lips
    1     face: 1 on the mesh
    2-4   position on the mean face (x, y, z): which part of the face the pixel shows
    5-7   displacement from the identity (x, y, z): how the warp stretched and the head turned
    8     cavity: 1 where the mouth opens beyond what the identity shows of its inside

The dense maps replace landmark contours drawn as lines. They contain the same edges, plus depth and
motion.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX
from talkhead.geometry.mesh import MEAN_FACE, NUM_SURFACE_POINTS
from talkhead.landmarks2video.masks import blur
from talkhead.landmarks2video.region import LEFT_PX, RIGHT_PX, TOP_PX, lower_face
from talkhead.landmarks2video.warp import (
    FIRST_CAVITY_TRIANGLE,
    FIRST_MOUTH_TRIANGLE,
    NUM_MESH_TRIANGLES,
    NUM_WARP_POINTS,
    STAGE,
    Bounds,
    rasterize,
    resize_grid,
    sampling_grid,
    still_grid,
    warp_image,
    warp_points,
)

NUM_MAPS = 9
MAP_SIDE_PX = CROP_SIDE_PX // 2
_RATIO = MAP_SIDE_PX / CROP_SIDE_PX
DISPLACEMENT_UNIT_PX = 16.0
CAVITY_SHADE = 0.3
"""Brightness factor of the cavity, where the warp can only show a stretched lip."""


def draw_maps(identity: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Draw the inputs that the networks need to turn an identity into a frame.

    Args:
        identity: (B, 478, 3) mesh of the identity image, crop pixels.
        target: (B, 478, 3) mesh of the frame, crop pixels.

    Returns:
        The warp's sampling grid (B, 128, 128, 2) and the conditioning maps (B, 9, 128, 128).
    """
    source, maps = _draw(identity, target, STAGE, 0)
    return sampling_grid(source), maps


def draw_stage(
    identity: Tensor, target: Tensor, bounds: Bounds | Tensor = STAGE
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw like `draw_maps`, and also how the surroundings of the crop move.

    Args:
        identity: (B, 478, 3), crop pixels.
        target: (B, 478, 3), crop pixels.
        bounds: the part of the stage that the picture covers, crop pixels; (B, 4) if every frame
            has its own picture.

    Returns:
        The offset of every stage pixel's source from the pixel, (B, 2, 208, 208), in crop pixels;
        sampling grid and maps of the crop, as from `draw_maps`.
    """
    source, maps = _draw(identity, target, bounds, STAGE_MARGIN_PX)
    margin = round(STAGE_MARGIN_PX * _RATIO)
    own = _own_places(source.shape[-1], margin, source.device)
    crop = slice(margin, margin + MAP_SIDE_PX)
    return (source - own) / _RATIO, sampling_grid(source[..., crop, crop]), maps


def _draw(
    identity: Tensor, target: Tensor, bounds: Bounds | Tensor, margin_px: int
) -> tuple[Tensor, Tensor]:
    """Rasterise the crop and a margin around it.

    Returns:
        Where every pixel comes from, (B, 2, S, S), in pixels of the crop's maps, and the maps of
        the crop alone.
    """
    batch, device = len(target), target.device
    identity = identity.expand_as(target)
    source, goal = warp_points(identity, target, bounds)
    helpers = torch.zeros(NUM_WARP_POINTS - NUM_SURFACE_POINTS, 3, device=device)
    places = torch.cat([torch.tensor(MEAN_FACE[:NUM_SURFACE_POINTS], device=device), helpers])
    displacement = (goal - source) / DISPLACEMENT_UNIT_PX
    attributes = torch.cat(
        [source[..., :2] * _RATIO, places.expand(batch, -1, -1), displacement], -1
    )
    margin = round(margin_px * _RATIO)
    side = MAP_SIDE_PX + 2 * margin
    values, triangles = rasterize((goal + margin_px) * _RATIO, attributes, side)
    own = _own_places(side, margin, device)
    places_from = torch.where((triangles >= 0)[:, None], values[:, :2], own)
    crop = slice(margin, margin + MAP_SIDE_PX)
    values, triangles = values[..., crop, crop], triangles[..., crop, crop]
    on_face = (triangles >= 0) & (triangles < NUM_MESH_TRIANGLES)
    mouth = on_face & (triangles >= FIRST_MOUTH_TRIANGLE)
    cavity = on_face & (triangles >= FIRST_CAVITY_TRIANGLE)
    face = on_face.to(values.dtype)
    maps = torch.cat(
        [
            torch.stack([mouth.to(values.dtype), face], 1),
            values[:, 2:5] * (face - mouth.to(values.dtype))[:, None],
            values[:, 5:],
            cavity[:, None].to(values.dtype),
        ],
        1,
    )
    return places_from, maps


def _own_places(side: int, margin: int, device: torch.device) -> Tensor:
    """Return the pixel positions of a map that begins `margin` before the crop, (2, S, S)."""
    line = torch.arange(side, device=device) + 0.5 - margin
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def warp_identity(image: Tensor, grid: Tensor, maps: Tensor) -> Tensor:
    """Warp an identity's crop to a frame and darken the cavity of the mouth.

    Args:
        image: (B, 3, S, S) in [-1, 1].
        grid: (B, 128, 128, 2), from `draw_maps`.
        maps: (B, 9, 128, 128), from `draw_maps`.

    Returns:
        (B, 3, S, S).
    """
    size = (image.shape[-2], image.shape[-1])
    shade = functional.interpolate(
        cavity_shade(maps), size=size, mode="bilinear", align_corners=False
    )
    return (warp_image(image, resize_grid(grid, size)) + 1) * shade - 1


def warp_lower_face(image: Tensor, grid: Tensor, maps: Tensor) -> Tensor:
    """Return the lower face of `warp_identity`, (B, 3, 160, 192), and compute nothing else."""
    small, large = (
        still_grid(side, side, grid.device).permute(0, 3, 1, 2)
        for side in (grid.shape[1], image.shape[-1])
    )
    shift = _enlarge_lower_face(grid.permute(0, 3, 1, 2) - small)
    places = (shift + lower_face(large)).permute(0, 2, 3, 1)
    return (warp_image(image, places) + 1) * _enlarge_lower_face(cavity_shade(maps)) - 1


def _enlarge_lower_face(maps: Tensor) -> Tensor:
    """Enlarge the lower face of maps, (B, C, 128, 128), to (B, C, 160, 192)."""
    border = round(1 / _RATIO)  # the pixel of the maps that interpolation reads beyond the edge
    rows = slice(round(TOP_PX * _RATIO) - 1, None)
    columns = slice(round(LEFT_PX * _RATIO) - 1, round(RIGHT_PX * _RATIO) + 1)
    large = functional.interpolate(
        maps[..., rows, columns], scale_factor=1 / _RATIO, mode="bilinear", align_corners=False
    )
    return large[..., border:, border:-border]


def cavity_shade(maps: Tensor) -> Tensor:
    """Return the factor that darkens the cavity of the mouth, (B, 1, 128, 128)."""
    return 1 - (1 - CAVITY_SHADE) * blur(maps[:, 8:9], 1)
