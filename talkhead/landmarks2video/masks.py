"""Soft masks of the lower face, which limit where the renderer may change the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX

LOWER_EYELIDS = (145, 374)
EYE_GAP_PX = 6.0
"""Gap between the lower eyelids and the mask, crop pixels."""
FEATHER_PX = 8
SEAM_GAP_PX = 2.0
"""Lips that close by more than this, in crop pixels, hide what was between them."""
SEAM_WIDTH = 2.0
"""Width of the line between the lips, pixels of the maps."""


def lower_face_mask(target: Tensor, maps: Tensor) -> Tensor:
    """Return the hard mask of the lower face: the mesh below the eyes.

    Args:
        target: (B, 478, 3) mesh, crop pixels.
        maps: (B, 9, 128, 128) conditioning maps of the mesh.

    Returns:
        (B, 1, 128, 128), 0 or 1.
    """
    ratio = maps.shape[-1] / CROP_SIDE_PX
    eyelids = target[:, list(LOWER_EYELIDS), 1].amax(1)  # the lower eye of a tilted head
    top = (eyelids + EYE_GAP_PX) * ratio
    line = torch.arange(maps.shape[-1], device=maps.device) + 0.5
    below = line[None, None, :, None] > top[:, None, None, None]
    return maps[:, 1:2] * below


def soft_mask(target: Tensor, maps: Tensor) -> Tensor:
    """Return the mask of `lower_face_mask`, feathered inwards, so that it is zero outside the face.

    It is also zero outside the region that the denoiser generates, and fades towards its edges,
    because a head that has moved far may lie across them.

    Returns:
        (B, 1, 128, 128) in [0, 1].
    """
    mask = lower_face_mask(target, maps) * _made_anew(maps)
    radius = FEATHER_PX * maps.shape[-1] // CROP_SIDE_PX
    window = 2 * radius + 1  # rows, then columns: the same square at less cost
    grown = functional.max_pool2d(1 - mask, (window, 1), stride=1, padding=(radius, 0))
    grown = functional.max_pool2d(grown, (1, window), stride=1, padding=(0, radius))
    return blur(1 - grown, radius)


def _made_anew(maps: Tensor) -> Tensor:
    """Return a mask of the region that the denoiser generates, without its bottom map pixels."""
    ratio = maps.shape[-1] / CROP_SIDE_PX
    inside = torch.zeros_like(maps[:1, :1])
    rows = slice(round(TOP_PX * ratio), round(BOTTOM_PX * ratio) - 1)
    inside[..., rows, round(LEFT_PX * ratio) : round(RIGHT_PX * ratio)] = 1
    return inside


def seam_mask(source: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """Return where lips meet that are apart in the picture.

    The warp squeezes the teeth between such lips into a bright line.

    Args:
        source: (1, 478, 3) mesh of the picture, crop pixels.
        target: (B, 478, 3) mesh, crop pixels.
        maps: (B, 9, 128, 128) conditioning maps of the mesh.

    Returns:
        (B, 1, 128, 128) in [0, 1].
    """
    out = torch.zeros_like(maps[:, :1])
    upper, lower = list(UPPER_INNER_LIP), list(LOWER_INNER_LIP)
    before = (source[:, lower] - source[:, upper])[..., :2].norm(dim=-1)
    after = (target[:, lower] - target[:, upper])[..., :2].norm(dim=-1)
    strength = ((before - after - SEAM_GAP_PX) / SEAM_GAP_PX).clamp(0, 1)
    if not bool(strength.any()):
        return out
    ratio = maps.shape[-1] / CROP_SIDE_PX
    line = (target[:, upper] + target[:, lower])[..., :2] * (ratio / 2)
    # Resample the points densely enough to form a line.
    count = 4 * len(upper)
    joined = torch.cat([line, strength[..., None]], -1).transpose(1, 2)
    dense = functional.interpolate(joined, size=count, mode="linear", align_corners=True)
    x0, y0 = (dense[:, :2].amin((0, 2)) - 4).floor().int().clamp(min=0).tolist()
    x1, y1 = (dense[:, :2].amax((0, 2)) + 5).ceil().int().clamp(max=maps.shape[-1]).tolist()
    if x0 >= x1 or y0 >= y1:
        return out
    x = torch.arange(x0, x1, device=maps.device) + 0.5
    y = torch.arange(y0, y1, device=maps.device) + 0.5
    across = (dense[:, 0, :, None, None] - x).square()
    down = (dense[:, 1, :, None, None] - y[:, None]).square()
    # Fade to exactly 0 at the box's edge, so that a frame does not depend on the rest of its batch.
    near = (1.02 * torch.exp(-(across + down) / SEAM_WIDTH**2) - 0.02).clamp(min=0)
    out[:, 0, y0:y1, x0:x1] = (near * dense[:, 2, :, None, None]).amax(1)
    return out


def blur(mask: Tensor, radius: int) -> Tensor:
    """Blur twice with a square window of `radius` pixels per side: nearly a Gaussian."""
    reach = max(radius // 2, 1)
    window = 2 * reach + 1
    for _ in range(2):
        padded = functional.pad(mask, (reach,) * 4, mode="replicate")
        rows = functional.avg_pool2d(padded, (window, 1), stride=1)
        mask = functional.avg_pool2d(rows, (1, window), stride=1)
    return mask
