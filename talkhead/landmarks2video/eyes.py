"""Eyes in three layers: lids that slide over an eyeball of constant size.

Warping the mesh as one sheet would squeeze the whole eye into a line when it closes. Here the lids
end where the frame's landmarks put them. Between them, the picture's eyeball shows, turned to the
frame's iris.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.face_areas import Area
from talkhead.landmarks2video.eye_axes import EYES, Eye, EyeAxes

UPRIGHT = (9, 197)
"""Mesh points between the brows and on the nose; their distance measures vertical scale."""
REACH = 0.14
"""Distance from a lid's edge, in eye widths, beyond which the mesh warp is used unchanged."""
LASHES = 0.075
"""Height, in eye widths, of the strip of upper lid, with lashes and make-up, that moves down
unchanged; the skin above it unrolls."""
FALLEN = 0.15
"""Drop of the lid, in eye widths, from which it unrolls up to its full `SKIN`."""
SKIN = 0.6
"""Share of the height between lid and eyebrow that is sure to be skin and not hair."""
MAX_SKIN = 0.35
MIN_SKIN = 0.12
"""Minimum height of the skin, in eye widths. Rims of glasses are above it, and do not unroll with
the skin below them."""
RIM_CONTRAST = 80.0
"""Minimum brightness difference, of 255, between skin and a rim; creases and brows reach it only in
places."""
RIM_SOFT = 0.02
"""Width of the rim's soft edge, in eye widths."""
BEND = 0.7
"""0 stretches the skin evenly; 1 does not stretch the skin next to the lashes at all."""
CORNER_REACH = 0.1
MAX_TURN = 0.12
"""Limit on the movement of the iris, in eye widths."""
EDGE = 1 / 60
"""Softness of the lids' edges, in eye widths; at least one pixel."""
OVERLAP = 0.06
"""Overlap of lids that meet, in eye widths."""
MIN_GAP = 0.1
"""Lids that are closer than this in the picture, in eye widths, overlap less."""
MIN_WIDTH_PX = 4.0
STILL_PX = 0.02
"""An eye whose points move by less than this is left as it is."""
MARGIN_PX = 2.0
"""Margin for the soft edges of the lids."""


class Pictured(Protocol):
    """A picture of a face, of which no more is computed than eyes that move need."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def stage(self) -> Tensor:
        """(1, C, h, w) in [0, 255]."""

    @property
    def clear_skin(self) -> tuple[Tensor, Tensor]:
        """How much of the skin above each eye is free, from `clear_skin`."""


def draw_eyes(
    picture: Pictured,
    read_places: Callable[[Tensor], Tensor],
    source: Tensor,
    target: Tensor,
    part: Area,
) -> Iterator[tuple[Area, Tensor, Tensor]]:
    """Draw the eyes of frames anew, where they move.

    Args:
        picture: the picture.
        read_places: maps places in the frames, (1 or B, N, 2), to where the mesh warp reads them in
            the picture, (B, N, 2); pixels.
        source: (1, 478, 2), mesh of the picture, in its pixels.
        target: (B, 478, 2), meshes of the frames, pixels.
        part: the part of the frames that is wanted.

    Yields:
        An area around each eye; its colours (B, C, h, w); and which of them differ from those of
        the mesh warp, bool (B, 1, h, w).
    """
    tall = (target[:, UPRIGHT[0]] - target[:, UPRIGHT[1]]).norm(dim=-1)
    tall = tall / (source[:, UPRIGHT[0]] - source[:, UPRIGHT[1]]).norm(dim=-1).clamp(min=1e-3)
    tall = tall.clamp(0.5, 2)[:, None]
    for number in range(len(EYES)):
        drawn = _draw_eye(picture, read_places, source, target, tall, number, part)
        if drawn is not None:
            yield drawn


def _draw_eye(
    picture: Pictured,
    read_places: Callable[[Tensor], Tensor],
    source: Tensor,
    target: Tensor,
    tall: Tensor,
    number: int,
    part: Area,
) -> tuple[Area, Tensor, Tensor] | None:
    eye = EYES[number]
    there, here = EyeAxes.of(source, eye), EyeAxes.of(target, eye)
    squash = here.width / (there.width * tall)  # converts heights here to heights there
    box = _reached(there, here, source, target, eye, squash)
    if box is None:
        return None
    x0, y0 = max(box.left, part.left), max(box.top, part.top)
    x1, y1 = min(box.right, part.right), min(box.bottom, part.bottom)
    if x0 >= x1 or y0 >= y1:
        return None
    device, count = target.device, len(target)
    height, width = picture.size
    ys, xs = torch.arange(y0, y1, device=device), torch.arange(x0, x1, device=device)
    places = torch.stack(torch.meshgrid(xs + 0.5, ys + 0.5, indexing="xy"), -1).reshape(1, -1, 2)
    size = torch.tensor([width, height], device=device)
    warped = read_places(places)

    u, v = here.read(places)
    inner = u.clamp(-0.5, 0.5)
    upper, upper_shift = _edge(here, source, target, eye.upper, inner)
    lower, lower_shift = _edge(here, source, target, eye.lower, inner)
    was = [_height(there, source, lid, inner) for lid in (eye.upper, eye.lower)]
    fallen = (upper - was[0] / squash).clamp(min=0)
    # Where the lids meet, the upper one ends at the lower one and covers its wet rim.
    closed = _closed(was[1] - was[0], lower - upper)
    further = torch.minimum(upper, lower) + OVERLAP * closed - upper
    upper = upper + further
    upper_shift = upper_shift - (0.5 * further * here.width)[..., None] * here.down
    above, below = upper - v, v - lower
    beside = 1 - _smooth((u.abs() - 0.5) / CORNER_REACH)

    down = _smooth(fallen / FALLEN)
    brow = was[0] - _height(there, source, eye.brow, inner)
    free = (SKIN * brow).clamp(REACH, MAX_SKIN)  # the mesh does not blink above this
    skin = torch.minimum(free, picture.clear_skin[number]) / squash
    free = free / squash

    def lid(
        edge: Tensor,
        shift: Tensor,
        outwards: float,
        distance: Tensor,
        rim: Tensor | float = 0.0,
        reach: Tensor | float = REACH,
        bend: Tensor | float = 0.0,
        end: Tensor | float = REACH,
    ) -> Tensor:
        """Unroll a lid from `rim` to `reach`; beyond that, move with the mesh at `end`."""
        mesh = here.place(inner, edge + outwards * end)
        mesh_shift = read_places(mesh) - mesh
        rolled = ((distance - rim) / (reach - rim)).clamp(0, 1)
        rolled = rolled - bend * (rolled - rolled.square())
        along = torch.lerp(shift, mesh_shift, rolled[..., None])
        near = beside * (distance < end)
        return torch.lerp(warped, places + along, near[..., None])

    bend = BEND * down * ((skin - LASHES) / fallen.clamp(min=FALLEN)).clamp(0, 1)
    reach, end = (fallen + REACH + down * (to - REACH) for to in (skin, free))
    over = lid(upper, upper_shift, -1, above, LASHES * down, reach, bend, end)
    under = lid(lower, lower_shift, 1, below)
    ball = _ball(there, here, source, target, eye, u, v * squash, squash, was)

    def read(points: Tensor) -> Tensor:
        there_grid = (points * (2 / size) - 1).reshape(count, y1 - y0, x1 - x0, 2)
        return functional.grid_sample(
            picture.stage.expand(count, -1, -1, -1),
            there_grid,
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )

    def share(distance: Tensor) -> Tensor:
        soft = torch.maximum(EDGE * here.width, torch.ones_like(here.width)) / here.width
        return (distance / soft + 0.5).clamp(0, 1).reshape(count, 1, y1 - y0, x1 - x0)

    drawn = torch.lerp(read(ball), read(under), share(below))
    touched = (beside > 0) & (above < end) & (below < REACH) & _moves(source, target, eye)[:, None]
    touched = touched.reshape(count, 1, y1 - y0, x1 - x0)
    return Area(x0, y0, x1, y1), torch.lerp(drawn, read(over), share(above)), touched


def _moves(source: Tensor, target: Tensor, eye: Eye) -> Tensor:
    """Return whether an eye moves, bool (B,)."""
    points = [*eye.upper, *eye.lower, *eye.brow, eye.iris]
    return (target - source)[:, points].abs().amax((1, 2)) > STILL_PX


def _reached(
    there: EyeAxes, here: EyeAxes, source: Tensor, target: Tensor, eye: Eye, squash: Tensor
) -> Area | None:
    """Return the area in which the lids or the eyeball move; None for an eye that stands still.

    The arguments are as in `_draw_eye`.
    """
    ends = torch.tensor([-0.5 - CORNER_REACH, 0.5 + CORNER_REACH], device=target.device)
    knots = torch.linspace(-0.5, 0.5, len(eye.upper), device=target.device)[None]
    upper, lower = (_height(here, target, lid, knots) for lid in (eye.upper, eye.lower))
    fallen = (upper - _height(there, source, eye.upper, knots) / squash).clamp(min=0)
    free = _smooth(fallen / FALLEN) * (MAX_SKIN / squash - REACH)
    # Between its points, a lid may reach a little further.
    high = (torch.minimum(upper, lower) - fallen - free).amin(1) - REACH - OVERLAP
    low = torch.maximum(upper, lower).amax(1) + REACH + OVERLAP
    corners = torch.cat(
        [here.place(ends[None], edge[:, None].expand(-1, 2)) for edge in (high, low)], 1
    )
    moves = _moves(source, target, eye).any()
    least = torch.minimum(there.width.amin(), here.width.amin())
    (x0, y0), (x1, y1) = corners.amin((0, 1)) - MARGIN_PX, corners.amax((0, 1)) + MARGIN_PX
    values = torch.stack([x0, y0, x1, y1, moves, least]).tolist()  # waits for the device once
    if not values[4] or values[5] < MIN_WIDTH_PX:
        return None
    return Area(*(math.floor(value) for value in values[:4]))


def _closed(usual: Tensor, gap: Tensor) -> Tensor:
    """Return 0 for lids at least half as far apart as in the picture, 1 where they meet."""
    usual = usual.clamp(min=0)
    return _smooth(1 - 2 * gap / usual.clamp(min=1e-3)) * _smooth(usual / MIN_GAP)


def clear_skin(picture: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Return the height of skin above each upper lid without glasses, (1, 1), eye widths.

    The rim of glasses is a dark line across the whole eye, with skin below and above it. Creases
    and brows are fainter in places.

    Args:
        picture: (1, C, h, w) in [0, 255].
        source: (1, 478, 2), its mesh, pixels.
    """
    right, left = (_clear_skin(EyeAxes.of(source, eye), picture, source, eye) for eye in EYES)
    return right, left


def _clear_skin(there: EyeAxes, picture: Tensor, source: Tensor, eye: Eye) -> Tensor:
    u = torch.linspace(-0.3, 0.3, 7, device=source.device)
    height = torch.linspace(MIN_SKIN, MAX_SKIN, 36, device=source.device)
    edge = _height(there, source, eye.upper, u[None])
    heights = edge[0][:, None] - height
    line = there.place(u[:, None].expand_as(heights).reshape(1, -1), heights.reshape(1, -1))
    size = torch.tensor(picture.shape[:1:-1], device=source.device)
    seen = functional.grid_sample(
        picture,
        (line * (2 / size) - 1)[:, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    light = seen.float().mean(1).reshape(heights.shape)
    skin = light.quantile(0.7, dim=1, keepdim=True)
    beyond = light.flip(1).cummax(1).values.flip(1)
    rim = (light < skin - RIM_CONTRAST) & (beyond > light + RIM_CONTRAST)
    first = height[rim.float().argmax(1)].min()
    clear = (first - RIM_SOFT).clamp(min=MIN_SKIN)
    return torch.where(rim.any(1).all(), clear, height[-1])[None, None]


def _ball(
    there: EyeAxes,
    here: EyeAxes,
    source: Tensor,
    target: Tensor,
    eye: Eye,
    u: Tensor,
    v: Tensor,
    squash: Tensor,
    lids: list[Tensor],
) -> Tensor:
    """Return where to read the eyeball, (B, N, 2): what the picture shows between its lids.

    Args:
        there: axes of the picture's eye.
        here: axes of the frames' eyes.
        source: mesh of the picture.
        target: meshes of the frames.
        eye: which eye.
        u: (B, N), coordinates along the eye.
        v: (B, N), heights in the picture's eye.
        squash: (B, 1), factor from heights in the frames' eyes to heights in the picture's.
        lids: heights of the picture's lids at `u`, the upper one first, (B, N) each.
    """
    inner = u.clamp(-0.5, 0.5)
    top, bottom = lids[0], torch.maximum(*lids)
    iris_u, iris_v = there.read(source[:, [eye.iris]])
    goal_u, goal_v = here.read(target[:, [eye.iris]])
    turn_u = (goal_u - iris_u).clamp(-MAX_TURN, MAX_TURN)
    turn_v = (goal_v * squash - iris_v).clamp(-MAX_TURN, MAX_TURN)
    along = (1 - (2 * inner).square()).square()
    level = ((v - top) / (bottom - top).clamp(min=1e-3)).clamp(0, 1)
    free = along * (1 - (2 * level - 1).square().square())
    slack = 1 / there.width
    v = torch.minimum(torch.maximum(v - turn_v * free, top - slack), bottom + slack)
    return there.place(u - turn_u * free, v)


def _height(axes: EyeAxes, points: Tensor, line: tuple[int, ...], u: Tensor) -> Tensor:
    """Return the height of a line of mesh points at `u`, (B, N), growing downwards."""
    at, height = axes.read(points[:, list(line)])
    return _interpolate(at, height[:, None], u)[:, 0]


def _edge(
    axes: EyeAxes, source: Tensor, target: Tensor, lid: tuple[int, ...], u: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a lid's edge at `u`, (B, N), and the offset to where it is read, (B, N, 2)."""
    index = list(lid)
    at, height = axes.read(target[:, index])
    shift = source[:, index] - target[:, index]
    edge, *moved = _interpolate(at, torch.stack([height, *shift.unbind(-1)], 1), u).unbind(1)
    return edge, torch.stack(moved, -1)


def _interpolate(at: Tensor, values: Tensor, u: Tensor) -> Tensor:
    """Interpolate values (B, C, K) at places (B, K) linearly to other places (B or 1, N).

    Returns:
        (B, C, N).
    """
    batch, channels = max(len(at), len(u)), values.shape[1]
    at, order = at.sort(1)
    values = values.gather(2, order[:, None].expand(-1, channels, -1))
    # Sum a ramp per interval: cheaper than searching the interval of every pixel.
    before, after = at[:, :-1, None], at[:, 1:, None]
    steps = values.diff(dim=2) / (after - before).clamp(min=1e-6).transpose(1, 2)
    ramps = torch.minimum(torch.maximum(u[:, None], before), after) - before
    return torch.baddbmm(values[..., :1], steps.expand(batch, -1, -1), ramps.expand(batch, -1, -1))


def _smooth(share: Tensor) -> Tensor:
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
