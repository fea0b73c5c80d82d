"""Where the renderer may change the picture: a soft mask of the lower face that follows the jaw."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.face.crop import CROP_SIDE_PX

LOWER_EYELIDS = (145, 374)
EYE_GAP_PX = 6.0
"""The mask begins this far below the lower eyelids, in crop pixels."""
FEATHER_PX = 8


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
    """Return the mask of `lower_face_mask`, feathered inward: it is zero outside the face.

    Returns:
        (B, 1, 128, 128) in [0, 1].
    """
    mask = lower_face_mask(target, maps)
    radius = FEATHER_PX * maps.shape[-1] // CROP_SIDE_PX
    shrunk = 1 - functional.max_pool2d(1 - mask, 2 * radius + 1, stride=1, padding=radius)
    return blur(shrunk, radius)


def blur(mask: Tensor, radius: int) -> Tensor:
    """Blur twice with a square window of `radius` pixels on each side: nearly a Gaussian."""
    reach = max(radius // 2, 1)
    for _ in range(2):
        padded = functional.pad(mask, (reach,) * 4, mode="replicate")
        mask = functional.avg_pool2d(padded, 2 * reach + 1, stride=1)
    return mask
