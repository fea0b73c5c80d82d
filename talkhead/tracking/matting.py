"""Refine the mask of a person to an alpha matte that follows hair, and find the person's colours.

A mask from a network is soft and coarse. The guided filter makes it a linear function of the
picture's colours in every small neighbourhood, so its edges become those of the picture. Near an
edge, a picture shows a mixture of person and background: the person's own colour has to be
estimated, or a seam of the old background would stay.

Guided filter: He, Sun and Tang, 2013. Colours: Forte, "Approximate fast foreground colour
estimation", 2021, whose two steps are box filters.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import uniform_filter
from torch.nn import functional

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

EPSILON = 1e-4
"""Contrast, squared, of what the guided filter keeps as an edge; colours are from 0 to 1."""
MIN_SHARE = 1e-4
"""Keeps divisions by a share of the foreground finite."""
_FAR, _NEAR = 0.06, 0.005
"""Sizes of the two neighbourhoods from which colours come, relative to the longer side."""
_COARSE_PX = 256


def box(image: Floats, radius: int) -> Floats:
    """Return the mean over a square around each pixel, repeating edges, (H, W) or (H, W, C)."""
    size = (2 * radius + 1, 2 * radius + 1, 1)[: image.ndim]
    return np.asarray(uniform_filter(image, size, mode="nearest"), np.float32)


def resized(image: Floats, longer: int) -> Floats:
    """Scale an image (H, W, C) down to a longer side, or leave it as it is if it is no larger."""
    height, width = image.shape[:2]
    scale = longer / max(height, width)
    if scale >= 1:
        return image
    return _scaled(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def _scaled(image: Floats, size: tuple[int, int]) -> Floats:
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    shrinks = size[0] < image.shape[0]
    scaled = functional.interpolate(planes, size, mode="bilinear", antialias=shrinks)
    return np.ascontiguousarray(scaled[0].permute(1, 2, 0).numpy())


def fit_to_edges(whole: Floats, small: Floats, mask: Floats, radius: int) -> Floats:
    """Fit the mask of a small picture to the edges of the whole one.

    Args:
        whole: (H, W, 3) in [0, 1].
        small: (h, w, 3), the same picture.
        mask: (h, w) in [0, 1].
        radius: of the neighbourhoods, pixels of the small picture.

    Returns:
        (H, W), about in [0, 1].
    """
    model = linear_model(small, mask, radius)
    if small.shape != whole.shape:
        model = _scaled(model, (whole.shape[0], whole.shape[1]))
    return np.asarray((model[..., :3] * whole).sum(-1) + model[..., 3], np.float32)


def linear_model(guide: Floats, mask: Floats, radius: int, epsilon: float = EPSILON) -> Floats:
    """Fit a mask by a linear function of the picture's colours around every pixel.

    Args:
        guide: (H, W, 3) in [0, 1], the picture.
        mask: (H, W) in [0, 1].
        radius: of the neighbourhood, pixels.
        epsilon: variance below which a neighbourhood counts as flat.

    Returns:
        (H, W, 4): three slopes and an offset.
    """
    mean_guide, mean_mask = box(guide, radius), box(mask, radius)
    covariance = box(guide * mask[..., None], radius) - mean_guide * mean_mask[..., None]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = np.stack([guide[..., i] * guide[..., j] for i, j in pairs], -1)
    means = np.stack([mean_guide[..., i] * mean_guide[..., j] for i, j in pairs], -1)
    rr, rg, rb, gg, gb, bb = np.moveaxis(box(products, radius) - means, -1, 0)
    rr, gg, bb = rr + epsilon, gg + epsilon, bb + epsilon
    # The inverse of a symmetric 3 x 3 matrix by its cofactors.
    crr, crg, crb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    cgg, cgb, cbb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * crr + rg * crg + rb * crb
    red, green, blue = np.moveaxis(covariance, -1, 0)
    slope = (
        np.stack(
            [
                crr * red + crg * green + crb * blue,
                crg * red + cgg * green + cgb * blue,
                crb * red + cgb * green + cbb * blue,
            ],
            -1,
        )
        / determinant[..., None]
    )
    offset = mean_mask - (slope * mean_guide).sum(-1)
    return box(np.dstack([slope, offset]).astype(np.float32), radius)


def person_colours(picture: Floats, alpha: Floats, *, is_fast: bool = False) -> Floats:
    """Return the colours of the person alone, (H, W, 3), also where the background shows through.

    Args:
        picture: (H, W, 3) in [0, 1].
        alpha: (H, W) in [0, 1].
        is_fast: do without the small neighbourhoods, which keep the colours of single strands.
    """
    # The large neighbourhoods are a blur: a small picture has it for less.
    small = resized(np.dstack([picture, alpha]), _COARSE_PX)
    person, behind = _local(small[..., :3], small[..., :3], small[..., 3:], _FAR)
    if small.shape[:2] != alpha.shape:
        person, behind = (
            _scaled(each, (len(picture), picture.shape[1])) for each in (person, behind)
        )
    share = alpha[..., None]
    colours = _explained(picture, share, person, behind)
    if is_fast:
        return colours
    return _explained(picture, share, *_local(colours, behind, share, _NEAR))


def _local(person: Floats, behind: Floats, share: Floats, relative: float) -> tuple[Floats, Floats]:
    """Return the mean colours of person and background around each pixel."""
    layers = np.dstack([person * share, behind * (1 - share), share])
    blurred = box(layers, max(1, round(relative * max(share.shape[:2]))))
    mean_share = blurred[..., 6:]
    colours = blurred[..., :3] / (mean_share + MIN_SHARE)
    return colours, blurred[..., 3:6] / (1 - mean_share + MIN_SHARE)


def _explained(picture: Floats, share: Floats, person: Floats, behind: Floats) -> Floats:
    """Return the person's colours, changed by what their mixture with the background lacks."""
    colours = np.where(share == 1, picture, person).astype(np.float32)
    mixed = (share[..., 0] > 0) & (share[..., 0] < 1)
    part, near = share[mixed], person[mixed]
    lacking = picture[mixed] - part * near - (1 - part) * behind[mixed]
    colours[mixed] = (near + part * lacking).clip(0, 1)
    return colours
