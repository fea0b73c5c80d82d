"""Fill the opened mouth of a frame with the colours of its lips, before its lips are closed.

The warp squeezes what is between closing lips into a line. Teeth would leave a bright line there,
which the networks keep, because real mouths have such lines, too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.mouth_pasting import cut_mouths, paste_mouths
from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    draw_lips,
    lip_outlines,
    patch_placements,
)

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CLOSED_OPENING = (0.02, 0.04)
"""As the new opening falls from the second to the first, in eye distances, the fill fades in: a
mouth that stays open is painted from what it shows."""
CLOSING = (0.01, 0.02)
"""It fades in as well while the lips close by this much, in eye distances."""
GROWN_PX = 3.0
"""The fill reaches this far into the lips, in pixels of the patch, because teeth shine there."""
FADE_PX = 2.0
"""Width of its edge, pixels of the patch."""


def fill_closing_mouth(
    picture: Pixels, mesh: Floats, target: Floats, device: torch.device
) -> Pixels:
    """Return a picture in which lip skin covers an opening that is about to close.

    Args:
        picture: uint8 (H, W, 3).
        mesh: (478, 3), the face in it, pixels.
        target: (478, 3), the face that will be rendered from it, pixels.
        device: where to compute.

    Returns:
        uint8 (H, W, 3), the picture itself where nothing closes.
    """
    amount = fill_amount(mesh, target)
    if amount == 0:
        return picture
    placements = patch_placements(mesh[None])
    outlines = torch.from_numpy(lip_outlines(mesh[None], placements)).to(device)
    distances = draw_lips(outlines)[:, :1]
    only, frames = np.zeros(1, np.int64), picture[None].copy()
    patch = cut_mouths(frames, only, placements, device)
    enlarged = functional.interpolate(
        distances, patch.shape[-2:], mode="bilinear", align_corners=False
    )
    skin = (enlarged * DISTANCE_UNIT_PX < -GROWN_PX).float()
    if not bool(skin.any()):  # the opening is larger than the patch: nothing to fill it with
        return picture

    def share(distance: Tensor) -> Tensor:
        depth = (distance * DISTANCE_UNIT_PX + GROWN_PX) / FADE_PX
        return amount * (depth + 0.5).clamp(0, 1)

    reach_px = GROWN_PX + FADE_PX
    paste_mouths(frames, only, placements, distances, spread_colours(patch, skin), share, reach_px)
    filled: Pixels = frames[0]
    return filled


def fill_amount(mesh: Floats, target: Floats) -> float:
    """Return how far the mouth of a mesh is to be filled for another, both (478, 3), 0 to 1."""
    before, after = _opening(mesh), _opening(target)
    closed = np.interp(after, CLOSED_OPENING, (1, 0))
    return float(closed * np.interp(before - after, CLOSING, (0, 1)))


def _opening(mesh: Floats) -> float:
    """Return the mean gap between the lips, eye distances."""
    gaps = (mesh[LOWER_INNER_LIP] - mesh[UPPER_INNER_LIP])[:, :2]
    scale = fit_head_pose(mesh[None]).scale[0]
    return float(np.linalg.norm(gaps, axis=-1).mean() / scale)


def spread_colours(image: Tensor, known: Tensor) -> Tensor:
    """Fill the unknown pixels of images smoothly, from known ones near and far.

    The colours are averaged on coarser and coarser grids, until each has known pixels; from the
    coarsest to the finest, the gaps are filled with the level above (pull and push).

    Args:
        image: (B, C, H, W).
        known: (B, 1, H, W), 1 where a pixel is known, else 0; at least one per image is known.

    Returns:
        (B, C, H, W), equal to the image where it is known.
    """
    levels = [(image * known, known)]
    while max(levels[-1][1].shape[-2:]) > 1:
        # A cell that the edge cuts counts only the part inside.
        colours, weights = (
            functional.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
            for level in levels[-1]
        )
        levels.append((colours, weights))
    colours, weights = levels.pop()
    filled = colours / weights.clamp(min=1e-6)
    for colours, weights in reversed(levels):
        above = functional.interpolate(
            filled, colours.shape[-2:], mode="bilinear", align_corners=False
        )
        filled = colours + (1 - weights) * above
    return filled
