"""The mouth's own coordinates: patches that keep still with the skull, and how they are pasted.

A patch is a plane through the lips, fixed to the head: head motion, in plane and out of it, is
taken out by an affine map. Upper teeth therefore stay where they are in the patch while the head
turns and the jaw moves, and so does noise that is drawn in the patch.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.mesh import INNER_LIPS, OUTER_LIPS
from talkhead.geometry.pose import fit_head_pose

Floats = npt.NDArray[np.float32]

PATCH_WIDTH_PX, PATCH_HEIGHT_PX = 160, 128
PATCH_PX_PER_EYE_DISTANCE = 160.0
"""Scale of the patch; a 256 px crop of a face has about 80."""
CENTRE_Y, CENTRE_Z = 0.5, -0.14
"""Centre of the patch in face space: below the lips at rest, so that a wide-open mouth fits."""
NUM_LIP_MAPS = 2
LIP_MAP_PX = 4
"""Side of a pixel of the lip maps, in pixels of the patch."""
DISTANCE_UNIT_PX = 16.0
"""Distances in the lip maps saturate at this many pixels of the patch."""
PAINTED_PX = 9.0
"""The painted patch replaces the frame up to this far outside the inner lips: those of a frame
that was warped open are as blurred as what they surround."""
FADE_PX = 4.0
"""It fades into the frame over twice this distance."""


def patch_placements(points: Floats) -> Floats:
    """Return where the patches of faces lie.

    Args:
        points: meshes (B, 478, 3), pixels.

    Returns:
        (B, 2, 3), affine maps from pixels of the patch to those of the picture.
    """
    pose = fit_head_pose(points)
    axes = pose.scale[:, None, None] * pose.rotation[:, :2]  # (B, 2, 3)
    corner = np.array(
        [
            -PATCH_WIDTH_PX / 2 / PATCH_PX_PER_EYE_DISTANCE,
            CENTRE_Y - PATCH_HEIGHT_PX / 2 / PATCH_PX_PER_EYE_DISTANCE,
            CENTRE_Z,
        ],
        np.float32,
    )
    offset = axes @ corner + pose.translation[:, :2]
    maps = np.concatenate([axes[..., :2] / PATCH_PX_PER_EYE_DISTANCE, offset[..., None]], -1)
    return np.asarray(maps, np.float32)


def to_patch(points: Floats, placements: Floats) -> Floats:
    """Map points (B, N, 2) from pixels of the picture to those of the patch."""
    inverse = np.linalg.inv(placements[..., :2])
    shifted = points - placements[:, None, :, 2]
    return np.asarray(shifted @ np.swapaxes(inverse, -1, -2), np.float32)


def cut_patches(image: Tensor, placements: Tensor) -> Tensor:
    """Cut patches out of pictures.

    Args:
        image: (B, 3, H, W).
        placements: (B, 2, 3), from `patch_placements`.

    Returns:
        (B, 3, 128, 160), of the same range.
    """
    # Where the picture is finer than the patch, average first.
    finest = float(placements[:, :, :2].norm(dim=1).amin())
    factor = max(1, math.floor(finest + 0.25))
    if factor > 1:
        image = functional.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False)
    u = torch.arange(PATCH_WIDTH_PX, device=image.device) + 0.5
    v = torch.arange(PATCH_HEIGHT_PX, device=image.device) + 0.5
    places = affine_places(placements / factor, u, v)
    size = torch.tensor([image.shape[-1], image.shape[-2]], device=image.device)
    return functional.grid_sample(
        image,
        places / size * 2 - 1,
        mode="bicubic" if finest < 1 else "bilinear",
        padding_mode="border",
        align_corners=False,
    )


def affine_places(placements: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Apply affine maps (B, 2, 3) to the grid of two lines; return (B, len(y), len(x), 2)."""
    across = x[:, None] * placements[:, None, :, 0]
    down = y[:, None] * placements[:, None, :, 1] + placements[:, None, :, 2]
    return across[:, None] + down[:, :, None]


def lip_distances(lips: Tensor, places: Tensor) -> Tensor:
    """Return signed distances to closed outlines, positive inside.

    Args:
        lips: (B, N, 2), corners of the outlines.
        places: (B or 1, h, w, 2), where to measure.

    Returns:
        (B, h, w), in the unit of the corners.
    """
    start, end = lips, lips.roll(-1, 1)
    edge = (end - start)[:, None, None]  # (B, 1, 1, N, 2)
    away = places[..., None, :] - start[:, None, None]
    along = (away * edge).sum(-1) / edge.square().sum(-1).clamp(min=1e-6)
    nearest = away - along.clamp(0, 1)[..., None] * edge
    distance = nearest.square().sum(-1).amin(-1).sqrt()
    # Even-odd rule: count the edges that a ray to the right crosses.
    spans = (away[..., 1] >= 0) != (away[..., 1] >= edge[..., 1])
    side = away[..., 0] * edge[..., 1] - away[..., 1] * edge[..., 0]
    crossed = spans & ((side < 0) == (edge[..., 1] > 0))
    inside = crossed.sum(-1) % 2 == 1
    return torch.where(inside, distance, -distance)


def draw_lips(outlines: Tensor) -> Tensor:
    """Draw the lips in patches.

    Args:
        outlines: (B, 40, 2), inner and outer lips from `lip_outlines`.

    Returns:
        (B, 2, 32, 40): signed distances to the inner and outer lips' edges, positive inside, in
        [-1, 1].
    """
    x = (torch.arange(PATCH_WIDTH_PX // LIP_MAP_PX, device=outlines.device) + 0.5) * LIP_MAP_PX
    y = (torch.arange(PATCH_HEIGHT_PX // LIP_MAP_PX, device=outlines.device) + 0.5) * LIP_MAP_PX
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    inner, outer = outlines[:, : len(INNER_LIPS)], outlines[:, len(INNER_LIPS) :]
    maps = torch.stack([lip_distances(inner, places), lip_distances(outer, places)], 1)
    return (maps / DISTANCE_UNIT_PX).clamp(-1, 1)


def lip_outlines(points: Floats, placements: Floats) -> Floats:
    """Return the inner and outer lips of meshes (B, 478, 3) in their patches, (B, 40, 2)."""
    ring = np.concatenate([INNER_LIPS, OUTER_LIPS])
    return to_patch(points[:, ring, :2], placements)


def painted_share(inner: Tensor) -> Tensor:
    """Return how much of a painted patch shows, 0 to 1.

    Args:
        inner: distances to the edge of the inner lips, as in the first map of `draw_lips`.
    """
    share = 0.5 + (inner * DISTANCE_UNIT_PX + PAINTED_PX) / (2 * FADE_PX)
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
