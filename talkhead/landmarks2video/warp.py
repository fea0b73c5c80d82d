"""Mesh warp: from target landmarks to a sampling grid, by span-based triangle rasterisation.

A span is the run of pixels that one triangle covers in one row. Values inside a triangle are
linear, so a span is a start and a slope. The work grows with the number of covered pixels, not with
bounding boxes, and one batch is one sequence of tensor operations, the same on the CPU and on CUDA.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_MARGIN_PX
from talkhead.geometry.mesh import (
    FACE_OVAL,
    LEFT_MOUTH_CORNER,
    LOWER_INNER_LIP,
    MOUTH_TRIANGLES,
    NUM_SURFACE_POINTS,
    RIGHT_MOUTH_CORNER,
    TRIANGLES,
    UPPER_INNER_LIP,
    Indices,
)

RING_SCALE = 1.45
"""Scale of a ring of helper points around the face, which carries hair, ears and neck; the motion
fades out beyond it."""
RING_JAW_SHARE = 0.35
"""Share of the nearby face motion, relative to the head, that a ring point follows."""
RING_NECK_SHARE = 0.6
"""Share of the head's motion that the lowest ring point, on the neck, follows."""
RING_FADE_PX = 24.0
"""Ring points that are closer than this to the still border move less."""
RING_ROOM_PX = 2.0
Bounds = tuple[float, float, float, float]
"""Left, top, right and bottom of the area that may move, crop pixels."""
STAGE: Bounds = (
    -float(STAGE_MARGIN_PX),
    -float(STAGE_MARGIN_PX),
    float(CROP_SIDE_PX + STAGE_MARGIN_PX),
    float(CROP_SIDE_PX + STAGE_MARGIN_PX),
)
UPPER_OVAL = np.array([*range(28, 36), *range(9)])
"""Indices into `FACE_OVAL` of the points around the forehead, from ear to ear."""
NUM_RING_POINTS = len(FACE_OVAL)


def _strip(inner: Indices, outer: Indices) -> Indices:
    """Triangulate the band between two closed rings of equal length, (2 N, 3)."""
    inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
    return np.concatenate(
        [np.stack([inner, outer, inner_next], 1), np.stack([inner_next, outer, outer_next], 1)]
    )


def _mouth_strips(teeth: Indices) -> tuple[Indices, Indices]:
    """Triangulate the mouth above and below the teeth's edge, (18, 3) each."""
    right, left = RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER

    def strip(upper: Indices, lower: Indices) -> Indices:
        quads = [
            triangle
            for a, b, c, d in zip(upper[:-1], upper[1:], lower[:-1], lower[1:], strict=True)
            for triangle in ((a, b, c), (b, d, c))
        ]
        ends = [(right, upper[0], lower[0]), (upper[-1], left, lower[-1])]
        return np.array([ends[0], *quads, ends[1]], np.int64)

    return strip(UPPER_INNER_LIP, teeth), strip(teeth, LOWER_INNER_LIP)


_TEETH = NUM_SURFACE_POINTS + np.arange(len(UPPER_INNER_LIP))
_RING = _TEETH[-1] + 1 + np.arange(NUM_RING_POINTS)
_FRAME = _RING[-1] + 1 + np.arange(NUM_RING_POINTS)
NUM_WARP_POINTS = int(_FRAME[-1]) + 1
_SKIN = np.delete(TRIANGLES, MOUTH_TRIANGLES, axis=0)
_SHOWN, _CAVITY = _mouth_strips(_TEETH)
WARP_TRIANGLES = np.concatenate(
    [_SKIN, _SHOWN, _CAVITY, _strip(FACE_OVAL, _RING), _strip(_RING, _FRAME)]
)
"""Skin and eyes; the mouth as the identity shows it; the cavity below that; from the face oval to
the ring; from the ring to the frame, which does not move."""
FIRST_MOUTH_TRIANGLE = len(_SKIN)
FIRST_CAVITY_TRIANGLE = FIRST_MOUTH_TRIANGLE + len(_SHOWN)
NUM_MESH_TRIANGLES = FIRST_CAVITY_TRIANGLE + len(_CAVITY)


_CONSTANTS = {
    "oval": FACE_OVAL,
    "upper lip": UPPER_INNER_LIP,
    "lower lip": LOWER_INNER_LIP,
    "triangles": WARP_TRIANGLES,
}


@cache
def constant(name: str, device: torch.device) -> Tensor:
    """Return the indices of `_CONSTANTS`, which are copied to a device once."""
    with torch.inference_mode(False):  # training uses them, too
        return torch.tensor(_CONSTANTS[name], device=device)


def warp_points(
    identity: Tensor, target: Tensor, bounds: Bounds | Tensor = STAGE
) -> tuple[Tensor, Tensor]:
    """Add the teeth's edge, the ring and the frame to two sets of meshes.

    Args:
        identity: (B, 478, 3), mesh of the identity image, crop pixels.
        target: (B, 478, 3), mesh of the frame to generate, crop pixels.
        bounds: the area that may move: the stage, or less if the picture ends before; (B, 4) if
            every frame has its own picture.

    Returns:
        Two tensors (B, 549, 3): surface points, teeth's edge, ring, frame. Frame points do not
        move.

    The teeth's edge prevents teeth from stretching. The upper teeth are fixed to the skull, so the
    area below the upper lip keeps its size. A mouth that opens wider than the identity's shows a
    cavity below the edge, which the identity does not contain; a mouth that closes covers its
    teeth.
    """
    oval = constant("oval", identity.device)
    identity_oval, target_oval = identity[:, oval], target[:, oval]
    centre = identity_oval.mean(1, keepdim=True)
    ring = centre + RING_SCALE * (identity_oval - centre)
    # The ring follows the head, and a little of each point's own motion: a dropping jaw stretches
    # the neck but does not push the collar down.
    around = torch.cat([ring, identity_oval], 1)
    carried = _follow(identity_oval[:, UPPER_OVAL], target_oval[:, UPPER_OVAL], around)
    head = carried[:, :NUM_RING_POINTS] - ring
    own = target_oval - carried[:, NUM_RING_POINTS:]
    reach = (identity_oval[..., 1:2] - centre[..., 1:2]).amax(1, keepdim=True).clamp(min=1e-3)
    down = ((identity_oval[..., 1:2] - centre[..., 1:2]) / reach).clamp(0, 1)
    head = head * (1 - (1 - RING_NECK_SHARE) * down)
    borders = torch.as_tensor(bounds, device=identity.device).reshape(-1, 1, 4)
    low, high = borders[..., :2], borders[..., 2:]
    # Points beyond the bounds stand still: the picture ends there, or continues unmoved.
    room = torch.minimum(ring[..., :2] - low, high - ring[..., :2]).amin(-1, keepdim=True)
    share = (room / RING_FADE_PX).clamp(0, 1)
    ring_target = ring + share * (head + RING_JAW_SHARE * own)
    middle, half = (low + high) / 2, (high - low) / 2
    angle = torch.atan2(ring[..., 1] - middle[..., 1], ring[..., 0] - middle[..., 0])
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    to_edge = (half / direction.abs().clamp(min=1e-6)).amin(-1, keepdim=True)
    frame = torch.cat([middle + direction * to_edge, ring[..., 2:]], -1)

    def inside(points: Tensor) -> Tensor:
        """Keep points within the frame, whatever the size of the face in the crop."""
        xy = torch.minimum(torch.maximum(points[..., :2], low + RING_ROOM_PX), high - RING_ROOM_PX)
        return torch.cat([xy, points[..., 2:]], -1)

    ring, ring_target = inside(ring), inside(ring_target)
    surface = slice(0, NUM_SURFACE_POINTS)
    upper_lip = constant("upper lip", identity.device)
    lower_lip = constant("lower lip", identity.device)
    opening = identity[:, lower_lip] - identity[:, upper_lip]
    target_opening = target[:, lower_lip] - target[:, upper_lip]
    gap = opening[..., :2].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    target_gap = target_opening[..., :2].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    shown = torch.minimum(gap, target_gap)
    teeth = identity[:, upper_lip] + opening * (shown / gap)
    teeth_target = target[:, upper_lip] + target_opening * (shown / target_gap)
    return (
        torch.cat([identity[:, surface], teeth, ring, frame], 1),
        torch.cat([target[:, surface], teeth_target, ring_target, frame], 1),
    )


def _follow(source: Tensor, goal: Tensor, points: Tensor) -> Tensor:
    """Move points by the in-plane similarity transform from source points to goal points.

    Args:
        source: (B, N, 3).
        goal: (B, N, 3).
        points: (B, M, 3); depth is shifted by the mean difference.
    """
    source_mean, goal_mean = source.mean(1, keepdim=True), goal.mean(1, keepdim=True)
    a, b = (source - source_mean)[..., :2], (goal - goal_mean)[..., :2]
    size = a.square().sum((1, 2)).clamp(min=1e-6)[:, None, None]
    along = (a * b).sum((1, 2))[:, None, None] / size
    across = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1)[:, None, None] / size
    offset = points - source_mean
    x, y = offset[..., :1], offset[..., 1:2]
    turned = torch.cat([along * x - across * y, across * x + along * y, offset[..., 2:]], -1)
    return goal_mean + turned


def rasterize(points: Tensor, attributes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Interpolate vertex attributes over the pixels of a square image.

    Args:
        points: (B, V, 3), vertices of `WARP_TRIANGLES` in pixels; pixel centres are at i + 0.5;
            smaller z is in front.
        attributes: (B, V, K), values to interpolate.
        size: side of the image in pixels.

    Returns:
        Values (B, K, size, size), zero where nothing is drawn, and triangles (B, size, size),
        int64, the index of the visible triangle in every pixel, or -1.
    """
    batch, _, channels = attributes.shape
    device = points.device
    triangles = constant("triangles", device)
    count = len(triangles)
    # Far triangles first, so that nearer spans win. The helper bands are behind the whole face.
    depth = points[..., 2][:, triangles].mean(-1)
    depth[:, NUM_MESH_TRIANGLES:] = torch.inf
    order = depth.argsort(dim=1, descending=True, stable=True)  # (B, F)
    corners = triangles[order]  # (B, F, 3)
    offset = torch.arange(batch, device=device)[:, None, None] * points.shape[1]
    flat = (corners + offset).reshape(-1, 3)
    xy = points[..., :2].reshape(-1, 2)[flat]  # (B F, 3, 2)
    values = attributes.reshape(-1, channels)[flat]  # (B F, 3, K)
    p0, e1, e2 = xy[:, 0], xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    front = area > 1e-4  # skip back-facing and degenerate triangles
    inverse = torch.where(front, 1 / area.clamp(min=1e-4), 0.0)
    # Barycentric weights of corners 1 and 2 are linear in x and y: gradient (B F, 2 weights, 2).
    normals = [torch.stack([e2[:, 1], -e2[:, 0]], -1), torch.stack([-e1[:, 1], e1[:, 0]], -1)]
    gradient = torch.stack(normals, 1) * inverse[:, None, None]
    rise = values[:, 1:] - values[:, :1]  # (B F, 2, K)
    slope_x = (gradient[:, :, :1] * rise).sum(1)  # (B F, K)

    top = (xy[..., 1].amin(1) - 0.5).ceil().clamp(0, size).long()
    bottom = (xy[..., 1].amax(1) - 0.5).floor().clamp(-1, size - 1).long()
    rows = torch.where(front, (bottom - top + 1).clamp(min=0), 0)
    owner = torch.repeat_interleave(rows)
    row = top.index_select(0, owner) + _run_positions(rows, owner)
    y = row + 0.5 - p0[:, 1].index_select(0, owner)
    # Each weight w(x) = g x + h is non-negative inside, so every edge bounds the span on one side.
    g = gradient[:, :, 0]
    g = torch.cat([g, -g.sum(1, keepdim=True)], 1).index_select(0, owner)
    h = gradient[:, :, 1].index_select(0, owner) * y[:, None]
    h = torch.cat([h, 1 - h.sum(1, keepdim=True)], 1)
    g = torch.where(g.abs() < 1e-9, 1e-9, g)  # a horizontal edge does not bound its row
    crossing = -h / g
    low = torch.where(g > 0, crossing, -torch.inf).amax(1)
    high = torch.where(g <= 0, crossing, torch.inf).amin(1)
    x0 = p0[:, 0].index_select(0, owner)
    first = (low + x0 - 0.5 - 1e-3).ceil().clamp(0, size)
    last = (high + x0 - 0.5 + 1e-3).floor().clamp(-1, size - 1)
    length = (last - first + 1).clamp(min=0).long()
    along = slope_x.index_select(0, owner)
    start_value = values[:, 0].index_select(0, owner) + along * (first + 0.5 - x0)[:, None]
    down = (gradient[:, :, 1:] * rise).sum(1)
    start_value = start_value + down.index_select(0, owner) * y[:, None]

    span = torch.repeat_interleave(length)
    image = owner // count
    base = (image * size + row) * size + first.long()
    pixel = base.index_select(0, span) + _run_positions(length, span)
    winner = torch.full((batch * size * size,), -1, dtype=torch.int64, device=device)
    winner = winner.scatter_reduce(0, pixel, span, "amax")
    seen = winner >= 0
    winner = winner.clamp(min=0)
    step = torch.arange(batch * size * size, device=device) - base.index_select(0, winner)
    # In place: these are the largest tensors here, and passes over them take most of the time.
    drawn = along.index_select(0, winner).mul_(step[:, None])
    drawn.add_(start_value.index_select(0, winner)).mul_(seen[:, None])
    index = order.reshape(-1).index_select(0, owner).index_select(0, winner)
    index = torch.where(seen, index, -1).reshape(batch, size, size)
    return drawn.reshape(batch, size, size, channels).permute(0, 3, 1, 2), index


def _run_positions(lengths: Tensor, owner: Tensor) -> Tensor:
    """Return 0, 1, 2, ... within every run, for concatenated runs of the given lengths."""
    starts = lengths.cumsum(0) - lengths
    return torch.arange(len(owner), device=lengths.device) - starts.index_select(0, owner)


def sampling_grid(source_xy: Tensor) -> Tensor:
    """Convert source positions to a grid for `grid_sample`.

    Args:
        source_xy: (B, 2, S, S), pixels of a source image of the same side.

    Returns:
        (B, S, S, 2) in [-1, 1], align_corners=False.
    """
    return (source_xy * (2 / source_xy.shape[-1]) - 1).permute(0, 2, 3, 1)


def warp_image(image: Tensor, grid: Tensor) -> Tensor:
    """Sample an image (B, C, H, W) at a grid (B, h, w, 2), bilinearly, repeating edges."""
    return functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def still_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Return the identity grid, which leaves an image unchanged, (1, height, width, 2)."""
    theta = torch.eye(2, 3, device=device)[None]
    return functional.affine_grid(theta, [1, 1, height, width], align_corners=False)


def resize_grid(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a grid (B, h, w, 2) by interpolating its displacements, not its positions."""
    height, width = grid.shape[1:3]
    shift = (grid - still_grid(height, width, grid.device)).permute(0, 3, 1, 2)
    shift = functional.interpolate(shift, size=size, mode="bilinear", align_corners=False)
    return shift.permute(0, 2, 3, 1) + still_grid(*size, grid.device)
