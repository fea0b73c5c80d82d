"""The picture's colours are its coordinates, so a frame shows where every pixel was read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.face_areas import Area
from talkhead.geometry.mesh import LEFT_EYE, MEAN_FACE, RIGHT_EYE
from talkhead.landmarks2video.conditioning import draw_maps
from talkhead.landmarks2video.eyes import LASHES, MAX_TURN, OVERLAP, clear_skin, draw_eyes
from talkhead.landmarks2video.warp import resize_grid, warp_image
from tests.meshes import crop_mesh

Floats = npt.NDArray[np.float32]
SIDE = 3 * CROP_SIDE_PX
ALL = Area(0, 0, SIDE, SIDE)
EYES = {"right": (RIGHT_EYE, 468), "left": (LEFT_EYE, 473)}
MESH = 3 * crop_mesh()
ALONG = np.array([1, 0, 0], np.float32)
DOWN = np.array([0, 1, 0], np.float32)


@dataclass(frozen=True)
class Pictured:
    """A picture, as `draw_eyes` needs it."""

    size: tuple[int, int]
    stage: Tensor
    clear_skin: tuple[Tensor, Tensor]


def places() -> Tensor:
    """The picture: x and y of every pixel centre, (1, 2, h, w)."""
    line = torch.arange(SIDE) + 0.5
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]


def read(*targets: Floats, source: Floats = MESH) -> Tensor:
    """Return where the pixels of frames are read, (B, 2, h, w)."""
    return drawn(places(), *targets, source=source)


def drawn(picture: Tensor, *targets: Floats, source: Floats = MESH) -> Tensor:
    """Return frames of a picture, (B, C, h, w)."""
    identity, target = torch.from_numpy(source)[None], torch.from_numpy(np.stack(targets))
    grid = resize_grid(draw_maps(identity / 3, target / 3)[0], (SIDE, SIDE))
    frames = warp_image(picture.expand(len(targets), -1, -1, -1), grid)

    def read_places(places: Tensor) -> Tensor:
        at = (places * (2 / SIDE) - 1)[:, None].expand(len(targets), -1, -1, -1)
        found = warp_image(grid.permute(0, 3, 1, 2), at)[:, :, 0].transpose(1, 2)
        return (found + 1) * (SIDE / 2)

    start, goal = identity[..., :2], target[..., :2]
    pictured = Pictured((SIDE, SIDE), picture, clear_skin(picture, start))
    for area, eye, touched in draw_eyes(pictured, read_places, start, goal, ALL):
        part = frames[..., area.top : area.bottom, area.left : area.right]
        part.copy_(torch.where(touched, eye, part))
    return frames


def blinking(closure: float) -> Floats:
    """Lower the upper lids to the lower ones."""
    points = MESH.copy()
    for ring, _ in EYES.values():
        upper, lower = ring[1:8], ring[:8:-1]
        points[upper] += closure * (MESH[lower] - MESH[upper])
    return points


def column(ring: npt.NDArray[np.int64]) -> int:
    """Return the column of pixels through the middle of an eye."""
    return int(MESH[[ring[0], ring[8]], 0].mean())


def lids(points: Floats, ring: npt.NDArray[np.int64], x: float) -> tuple[float, float]:
    """Return the heights of both lids' edges at `x`."""
    edges = []
    for lid in (ring[:9], [ring[0], *ring[:7:-1]]):
        line = points[lid][points[lid][:, 0].argsort()]
        edges.append(float(np.interp(x, line[:, 0], line[:, 1])))
    return edges[0], edges[1]


def test_open_eyes_are_left_as_they_are() -> None:
    torch.testing.assert_close(read(MESH), places(), atol=0.05, rtol=0)


@pytest.mark.parametrize("side", EYES)
def test_a_lid_slides_over_an_eyeball_that_keeps_its_place(side: str) -> None:
    ring, _ = EYES[side]
    x = column(ring)
    target = blinking(0.5)
    frame = read(target)[0]
    upper, lower = lids(target, ring, x + 0.5)
    was, _ = lids(MESH, ring, x + 0.5)
    ball = slice(round(upper + 2), round(lower - 2))
    assert ball.stop - ball.start > 5
    torch.testing.assert_close(frame[:, ball, x], places()[0, :, ball, x], atol=0.05, rtol=0)
    edge = round(upper) - 3
    assert frame[1, edge, x] == pytest.approx(edge + 0.5 - (upper - was), abs=1.0)


@pytest.mark.parametrize("side", EYES)
def test_closed_lids_show_nothing_of_the_eye(side: str) -> None:
    ring, _ = EYES[side]
    frame = read(blinking(1.0))[0]
    lashes = 0.5 * OVERLAP * float(np.ptp(MESH[ring, 0]))
    for x in range(column(ring) - 15, column(ring) + 16):
        upper, lower = lids(MESH, ring, x + 0.5)
        read_y = frame[1, round(upper) - 10 : round(lower) + 10, x]
        inside = (read_y > upper + lashes + 0.5) & (read_y < lower - 0.5)
        assert int(inside.sum()) <= 2  # colours of both lids are mixed where they meet
        assert read_y.min() < upper
        assert read_y.max() > lower


@pytest.mark.parametrize("side", EYES)
def test_lashes_go_down_as_they_are_and_skin_unrolls_above_them(side: str) -> None:
    ring, _ = EYES[side]
    x = column(ring)
    width = float(np.ptp(MESH[ring, 0]))
    _, lower = lids(MESH, ring, x + 0.5)
    steps = read(blinking(1.0))[0, 1, :, x].diff()
    edge = round(lower + OVERLAP * width)
    lashes = steps[edge - round(LASHES * width) : edge - 2]
    torch.testing.assert_close(lashes, torch.ones_like(lashes), atol=0.1, rtol=0)
    assert len(lashes) >= 4
    skin = steps[edge - round(0.45 * width) : edge - round(1.3 * LASHES * width)]
    assert 0 <= skin.min() < skin.max() < 0.8


@pytest.mark.parametrize("contrast", [20.0, 170.0])
def test_rims_of_glasses_stay_and_faint_lines_unroll_with_the_skin(contrast: float) -> None:
    ring, _ = EYES["right"]
    x = column(ring)
    width = float(np.ptp(MESH[ring, 0]))
    row = round(MESH[ring, 1].min() - 0.18 * width)
    picture = torch.full((1, 3, SIDE, SIDE), 200.0)
    picture[:, :, row : row + 3] -= contrast
    frame = drawn(picture, blinking(1.0))[0, 0, :, x]
    found = round(
        float((200 - frame).clamp(min=0) @ torch.arange(SIDE).float() / (200 - frame).sum())
    )
    assert (abs(found - (row + 1)) <= 2) == (contrast > 100)


@pytest.mark.parametrize("side", EYES)
@pytest.mark.parametrize("turn", [(4.0, 0.0), (-4.0, 0.0), (0.0, 3.0), (3.0, -2.0)])
def test_the_iris_goes_where_the_landmarks_say(side: str, turn: tuple[float, float]) -> None:
    _, iris = EYES[side]
    target = MESH.copy()
    target[iris, :2] += turn
    x, y = target[iris, :2].astype(int)
    got = read(target)[0, :, y, x].numpy()
    want = np.array([x, y]) + 0.5 - turn
    np.testing.assert_allclose(got, want, atol=1.0)
    assert np.abs(got - [x + 0.5, y + 0.5]).max() > 2


def test_an_iris_out_of_the_eye_is_held_back() -> None:
    target = MESH + 0
    target[468] += 100 * ALONG
    width = float(np.linalg.norm(MESH[33] - MESH[133]))
    moved = (read(target) - places()).abs()
    assert 2 < float(moved.max()) <= MAX_TURN * width + 0.5


def test_eyes_go_with_the_head() -> None:
    angle = 0.2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array([SIDE / 2, SIDE / 2])
    target = MESH.copy()
    target[:, :2] = (MESH[:, :2] - middle) @ turn * 1.1 + middle + [5, -7]
    frame = read(target)[0]
    for _, iris in EYES.values():
        x, y = target[iris, :2].astype(int)
        want = (np.array([x + 0.5, y + 0.5]) - middle - [5, -7]) / 1.1 @ turn.T + middle
        np.testing.assert_allclose(frame[:, y, x].numpy(), want, atol=0.3)


def test_lids_that_open_wider_than_in_the_picture_stretch_its_eye() -> None:
    wide = blinking(-0.5)
    ring, _ = EYES["right"]
    x = column(ring)
    upper, _ = lids(wide, ring, x + 0.5)
    was, _ = lids(MESH, ring, x + 0.5)
    top = read(wide)[0, 1, round(upper) + 3, x]
    assert top == pytest.approx(was, abs=2)


def test_frames_do_not_depend_on_their_neighbours() -> None:
    targets = [blinking(0.3), blinking(1.0), MESH + 20 * DOWN]
    together = read(*targets)
    for index, target in enumerate(targets):
        torch.testing.assert_close(together[index], read(target)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "points",
    [
        MESH + np.array([SIDE, 0, 0], np.float32),
        MESH - np.array([0, 0.8 * SIDE, 0], np.float32),
        (MEAN_FACE * 5 + 100).astype(np.float32),
    ],
    ids=["beside the picture", "above it", "tiny"],
)
def test_eyes_that_cannot_be_seen_are_left_alone(points: Floats) -> None:
    torch.testing.assert_close(read(points, source=points), places(), atol=0.05, rtol=0)


def test_eyes_at_the_edge_of_the_picture_are_drawn_as_far_as_they_are_seen() -> None:
    source = MESH + (10 - MESH[33, 0]) * ALONG
    target = source + (blinking(1.0) - MESH)
    frame = read(target, source=source)
    assert torch.isfinite(frame).all()
    assert not torch.equal(frame, places())
