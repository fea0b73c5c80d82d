from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.draw import polygon2mask
from torch import Tensor

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import (
    CHIN,
    FACE_OVAL,
    LOWER_INNER_LIP,
    MIRROR,
    NUM_SURFACE_POINTS,
    UPPER_INNER_LIP,
)
from talkhead.geometry.pose import rotation_from_angles
from talkhead.landmarks2video.conditioning import MAP_SIDE_PX, draw_maps
from talkhead.landmarks2video.warp import (
    FIRST_CAVITY_TRIANGLE,
    FIRST_MOUTH_TRIANGLE,
    NUM_MESH_TRIANGLES,
    NUM_RING_POINTS,
    NUM_WARP_POINTS,
    RING_NECK_SHARE,
    STAGE,
    UPPER_OVAL,
    WARP_TRIANGLES,
    rasterize,
    resize_grid,
    sampling_grid,
    warp_image,
    warp_points,
)
from tests.meshes import as_batch, crop_mesh, floats, opened, turning

Doubles = npt.NDArray[np.float64]
RING, FRAME = slice(-2 * NUM_RING_POINTS, -NUM_RING_POINTS), slice(-NUM_RING_POINTS, None)
WIDE = (-372.0, -372.0, 628.0, 628.0)
"""Bounds far from a face at the centre of the crop."""
SIZE = 40
"""Size of the images that are also drawn triangle by triangle."""


def still_grid(side: int) -> Tensor:
    line = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]


def displacement_px(grid: Tensor) -> Tensor:
    """Return a grid's displacement from the identity grid, (B, S, S, 2), in crop pixels."""
    return (grid - still_grid(grid.shape[1])) * (CROP_SIDE_PX / 2)


def drawn_one_by_one(
    points: Doubles, values: Doubles, size: int
) -> tuple[Doubles, Doubles, Doubles]:
    """Draw with a loop over triangles and a depth buffer, as in textbooks.

    Returns values (size, size, K), triangle numbers (size, size), and each pixel centre's distance
    to the nearest triangle edge, in barycentric units: pixels on an edge may belong to either side.
    """
    y, x = np.mgrid[:size, :size] + 0.5
    out = np.zeros((size, size, values.shape[1]))
    number = np.full((size, size), -1)
    depth = np.full((size, size), np.inf)
    margin = np.full((size, size), np.inf)
    for index, triangle in enumerate(WARP_TRIANGLES):
        a, b, c = points[triangle, :2]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area <= 1e-4:
            continue
        w_a = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
        w_b = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
        w_c = 1 - w_a - w_b
        least = np.minimum(np.minimum(w_a, w_b), w_c)
        margin = np.minimum(margin, np.abs(least))
        mean = points[triangle, 2].mean() if index < NUM_MESH_TRIANGLES else 1e9
        nearer = (least >= 0) & (mean < depth)
        weights = np.stack([w_a, w_b, w_c], -1)
        out[nearer] = (weights @ values[triangle])[nearer]
        number[nearer], depth[nearer] = index, mean
    return out, number, margin


def scene(yaw_rad: float, size: int) -> tuple[Tensor, Tensor]:
    """Vertices of a turned face with an open mouth and no level edges, with three values each."""
    target = turning(yaw_rad, opened(crop_mesh(), 12))
    _, goal = warp_points(as_batch(crop_mesh()), as_batch(target))
    generator = torch.Generator().manual_seed(0)
    goal[..., :2] += 0.01 * torch.randn((*goal.shape[:2], 2), generator=generator)
    values = torch.rand(1, goal.shape[1], 3, generator=generator)
    return goal * (size / CROP_SIDE_PX), values


@pytest.mark.parametrize("yaw_rad", [0.0, 0.5, -0.9])
def test_triangles_are_drawn_as_one_by_one(yaw_rad: float) -> None:
    points, values = scene(yaw_rad, SIZE)
    drawn, index = rasterize(points, values, SIZE)
    expected, number, margin = drawn_one_by_one(
        points[0].double().numpy(), values[0].double().numpy(), SIZE
    )
    clear = margin > 0.02
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(index[0].numpy()[clear], number[clear])
    np.testing.assert_allclose(drawn[0].permute(1, 2, 0).numpy()[clear], expected[clear], atol=2e-3)


def test_triangles_with_a_level_edge_are_drawn() -> None:
    face = as_batch(crop_mesh())
    _, goal = warp_points(face, face)  # top and bottom of the frame are level edges
    _, index = rasterize(goal * (SIZE / CROP_SIDE_PX), goal, SIZE)
    exact = goal[0].double().numpy() * (SIZE / CROP_SIDE_PX)
    _, number, margin = drawn_one_by_one(exact, exact, SIZE)
    clear = margin > 0.02
    np.testing.assert_array_equal(index[0].numpy()[clear], number[clear])


def test_the_crop_is_drawn_up_to_its_frame_without_holes() -> None:
    points, values = scene(0.4, MAP_SIDE_PX)
    _, index = rasterize(points, values, MAP_SIDE_PX)
    frame = points[0, FRAME, :2].flip(-1).numpy() - 0.5
    fill: Callable[..., npt.NDArray[np.bool_]] = polygon2mask
    inside = fill((MAP_SIDE_PX, MAP_SIDE_PX), frame)
    drawn = index[0].numpy() >= 0
    assert drawn[inside].all()
    assert inside.mean() > 0.85  # only the corners are cut off
    assert (drawn & ~inside).sum() < 4 * MAP_SIDE_PX * 0.1
    assert int(index.max()) < len(WARP_TRIANGLES)


def test_values_of_a_flat_face_are_linear() -> None:
    points, _ = scene(0.0, MAP_SIDE_PX)
    values = points[..., :2] @ torch.tensor([[1.0, 0.5], [-2.0, 3.0]])
    drawn, index = rasterize(points, values, MAP_SIDE_PX)
    line = torch.arange(MAP_SIDE_PX) + 0.5
    x, y = torch.meshgrid(line, line, indexing="xy")
    seen = index[0] >= 0
    torch.testing.assert_close(drawn[0, 0][seen], (x - 2 * y)[seen], atol=0.02, rtol=0)
    torch.testing.assert_close(drawn[0, 1][seen], (0.5 * x + 3 * y)[seen], atol=0.02, rtol=0)
    assert (drawn[0][:, ~seen] == 0).all()


@pytest.mark.parametrize(("depth_px", "nose_is_seen"), [(-60.0, True), (90.0, False)])
def test_the_nearer_triangle_wins(depth_px: float, nose_is_seen: bool) -> None:
    face = crop_mesh()
    nose_tip = 4
    around = np.unique(WARP_TRIANGLES[np.equal(WARP_TRIANGLES, nose_tip).any(1)])
    moved = face.copy()
    moved[around] += np.array(
        [45, 0, depth_px], np.float32
    )  # the tip of the nose, over the left cheek
    source, goal = warp_points(as_batch(face), as_batch(moved))
    _, index = rasterize(goal, source, CROP_SIDE_PX)
    x, y = np.floor(moved[nose_tip, :2]).astype(int)
    seen = WARP_TRIANGLES[int(index[0, y, x])]
    assert (nose_tip in seen) == nose_is_seen


def test_the_helper_bands_never_cover_the_face() -> None:
    face = crop_mesh()
    far = face + np.array([0, 0, 1000], np.float32)
    for depth in (face, far):
        moved = depth + np.array([10, -5, 0], np.float32)
        source, goal = warp_points(as_batch(face), as_batch(moved))
        _, index = rasterize(goal, source, CROP_SIDE_PX)
        x, y = np.floor(moved[[1, 50, 280, 199], :2]).astype(int).T
        assert (index[0][y, x] < NUM_MESH_TRIANGLES).all()


def test_the_same_landmarks_leave_every_pixel_where_it_is() -> None:
    for face in (crop_mesh(), turning(0.6, crop_mesh())):
        grid, _ = draw_maps(as_batch(face), as_batch(face))
        torch.testing.assert_close(grid, still_grid(MAP_SIDE_PX), atol=1e-4, rtol=0)


def test_a_shifted_mesh_shifts_the_texture_with_it() -> None:
    face = crop_mesh()
    shift = np.array([6, -4, 0], np.float32)
    grid, maps = draw_maps(as_batch(face), as_batch(face + shift))
    on_face = maps[0, 1] > 0
    moved = displacement_px(grid)[0][on_face]
    torch.testing.assert_close(moved, torch.tensor([-6.0, 4.0]).expand_as(moved), atol=0.01, rtol=0)
    # A gradient sampled through the full-size grid moves by the same amount.
    line = torch.arange(CROP_SIDE_PX) + 0.5
    picture = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
    warped = warp_image(picture, resize_grid(grid, (CROP_SIDE_PX, CROP_SIDE_PX)))
    nose = (face[4, :2] + shift[:2]).round().astype(int)
    around = (slice(None), slice(nose[1] - 20, nose[1] + 20), slice(nose[0] - 20, nose[0] + 20))
    difference = (warped - picture)[0][around]
    expected = torch.tensor([-6.0, 4.0])[:, None, None].expand_as(difference)
    torch.testing.assert_close(difference, expected, atol=0.02, rtol=0)


def test_a_dropped_lip_is_read_from_where_it_was() -> None:
    face = crop_mesh()
    grid, _ = draw_maps(as_batch(face), as_batch(opened(face, 16)))
    full = displacement_px(grid)
    x, y = ((face[17, :2] + (0, 16)) / 2).astype(int)  # the lower lip's edge, in grid pixels
    assert float(full[0, y, x, 1]) == pytest.approx(-16, abs=1.5)
    brow = (face[105, :2] / 2).astype(int)
    assert full[0, brow[1], brow[0]].abs().max() < 0.01


def test_a_batch_is_drawn_as_each_of_it() -> None:
    face = crop_mesh()
    targets = [face, opened(face, 10), turning(0.7, face), face + np.array([8, 3, 0], np.float32)]
    grids, maps = draw_maps(as_batch(face), as_batch(*targets))
    for index, target in enumerate(targets):
        grid, single = draw_maps(as_batch(face), as_batch(target))
        torch.testing.assert_close(grids[index], grid[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(maps[index], single[0], atol=1e-4, rtol=0)


def test_a_mirrored_face_is_warped_in_the_mirror() -> None:
    def mirrored(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        flipped = points[MIRROR].copy()
        flipped[:, 0] = CROP_SIDE_PX - flipped[:, 0]
        return flipped

    face = crop_mesh()
    target = turning(0.3, opened(face, 10))
    grid, maps = draw_maps(as_batch(face), as_batch(target))
    other, other_maps = draw_maps(as_batch(mirrored(face)), as_batch(mirrored(target)))
    flipped = displacement_px(other).flip(2) * torch.tensor([-1.0, 1.0])
    difference = (flipped - displacement_px(grid)).abs().amax(-1)[0]
    # The table of triangles splits a few quadrilaterals along the other diagonal on the other side,
    # and the ring around the face is not exactly symmetric.
    on_face = maps[0, 1] > 0
    assert float((difference[on_face] > 0.05).float().mean()) < 0.02
    assert float(difference[on_face].max()) < 0.5
    assert float(difference.median()) < 0.5
    assert float((other_maps.flip(3)[:, :2] != maps[:, :2]).float().mean()) < 0.005


def test_every_vertex_is_used_and_every_triangle_has_a_front() -> None:
    assert set(WARP_TRIANGLES.ravel().tolist()) == {
        *range(NUM_SURFACE_POINTS),
        *range(NUM_SURFACE_POINTS, NUM_WARP_POINTS),
    }
    # In a mouth that opens wider than the identity's, every triangle faces the camera.
    face = crop_mesh()
    _, goal = warp_points(as_batch(face), as_batch(opened(face, 15)))
    corners = goal[0, :, :2][torch.from_numpy(WARP_TRIANGLES)]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    assert (area[:NUM_MESH_TRIANGLES] > 0).all()


def test_teeth_keep_their_size_when_the_mouth_opens_wider() -> None:
    face = crop_mesh()
    source, goal = warp_points(as_batch(face), as_batch(opened(face, 20)))
    teeth = slice(NUM_SURFACE_POINTS, NUM_SURFACE_POINTS + len(UPPER_INNER_LIP))
    for points in (source, goal):
        shown = (points[0, teeth] - points[0, UPPER_INNER_LIP.tolist()])[:, 1]
        gap = face[LOWER_INNER_LIP, 1] - face[UPPER_INNER_LIP, 1]
        np.testing.assert_allclose(shown, gap, atol=0.15)  # the lip also moves slightly sideways


def test_a_closing_mouth_covers_its_teeth_and_has_no_cavity() -> None:
    face = crop_mesh()
    source, goal = warp_points(as_batch(opened(face, 20)), as_batch(face))
    teeth = slice(NUM_SURFACE_POINTS, NUM_SURFACE_POINTS + len(UPPER_INNER_LIP))
    torch.testing.assert_close(goal[0, teeth], goal[0, LOWER_INNER_LIP.tolist()], atol=1e-3, rtol=0)
    gap = face[LOWER_INNER_LIP, 1] - face[UPPER_INNER_LIP, 1]
    shown = (source[0, teeth] - source[0, UPPER_INNER_LIP.tolist()])[:, 1]
    np.testing.assert_allclose(shown, gap, atol=0.15)
    _, index = rasterize(goal, source, CROP_SIDE_PX)
    seen = torch.from_numpy(np.unique(index.numpy()))
    assert not ((seen >= FIRST_CAVITY_TRIANGLE) & (seen < NUM_MESH_TRIANGLES)).any()
    assert ((seen >= FIRST_MOUTH_TRIANGLE) & (seen < FIRST_CAVITY_TRIANGLE)).any()


def test_points_on_the_frame_of_the_crop_never_move() -> None:
    face = crop_mesh()
    target = turning(0.4, opened(face + np.array([12, -7, 0], np.float32), 20))
    source, goal = warp_points(as_batch(face), as_batch(target))
    torch.testing.assert_close(source[:, FRAME], goal[:, FRAME])
    sides = source[0, FRAME, :2]
    low, high = STAGE[0], STAGE[2]
    on_edge = ((sides < low + 0.01) | (sides > high - 0.01)).any(-1)
    assert bool(on_edge.all())
    assert float(sides.min()) >= low - 0.01
    assert float(sides.max()) <= high + 0.01


def test_ring_points_stay_inside_the_frame_whatever_the_size_of_the_face() -> None:
    middle = np.array([CROP_SIDE_PX / 2, CROP_SIDE_PX / 2, 0], np.float32)
    for scale in (0.3, 1.0, 2.6):
        face = (crop_mesh() - middle) * np.float32(scale) + middle
        for points in warp_points(as_batch(face), as_batch(face + 9)):
            ring = points[:, RING, :2]
            assert float(ring.min()) > STAGE[0]
            assert float(ring.max()) < STAGE[2]


def test_hair_goes_along_with_a_shifted_head_and_the_neck_less() -> None:
    face = crop_mesh()
    source, goal = warp_points(as_batch(face), as_batch(face + floats([3, 0, 0])), WIDE)
    moved = (goal - source)[0, RING, 0]
    torch.testing.assert_close(moved[UPPER_OVAL], torch.full((len(UPPER_OVAL),), 3.0))
    below = FACE_OVAL.tolist().index(CHIN)
    assert float(moved[below]) == pytest.approx(3 * RING_NECK_SHARE, abs=0.05)
    assert float(moved.min()) >= float(moved[below]) - 1e-3


def test_hair_turns_with_a_tilted_head() -> None:
    face = crop_mesh()
    turn = rotation_from_angles(floats([0, 0, 0.1]))
    centre = face[FACE_OVAL].mean(0)
    tilted = (face - centre) @ turn.T + centre
    source, goal = warp_points(as_batch(face), as_batch(tilted), WIDE)
    expected = (source[0, RING].numpy() - centre) @ turn.T + centre
    np.testing.assert_allclose(
        goal[0, RING][UPPER_OVAL, :2].numpy(), expected[UPPER_OVAL, :2], atol=0.05
    )


def test_hair_that_reaches_the_end_of_the_picture_stands_still_there() -> None:
    face = crop_mesh()
    head_up = as_batch(face + floats([0, -5, 0]))
    crop = (0.0, 0.0, float(CROP_SIDE_PX), float(CROP_SIDE_PX))
    source, goal = warp_points(as_batch(face), head_up, crop)
    top = source[0, RING, 1] <= 2.0
    assert bool(top.any())
    assert float((goal - source)[0, RING][top].abs().max()) < 1e-3


def test_a_dropping_jaw_takes_only_a_share_of_the_neck_along() -> None:
    face = crop_mesh()
    target = opened(face, 20)
    source, goal = warp_points(as_batch(face), as_batch(target), WIDE)
    below = FACE_OVAL.tolist().index(CHIN)
    fall = float((goal - source)[:, RING][0, below, 1])
    assert 0 < fall < 0.5 * 20


def test_a_grid_is_read_by_hand() -> None:
    source = torch.full((1, 2, 4, 4), 3.0)
    torch.testing.assert_close(
        sampling_grid(source), torch.full((1, 4, 4, 2), 0.5)
    )  # 3 * 2 / 4 - 1


def test_a_still_grid_is_still_at_every_size() -> None:
    for size in ((256, 256), (311, 311), (64, 64), (97, 101)):
        resized = resize_grid(still_grid(MAP_SIDE_PX), size)
        lines = [(torch.arange(count) + 0.5) * (2 / count) - 1 for count in reversed(size)]
        expected = torch.stack(torch.meshgrid(*lines, indexing="xy"), -1)[None]
        torch.testing.assert_close(resized, expected, atol=1e-5, rtol=0)


def test_a_resized_grid_moves_the_picture_by_the_same_share() -> None:
    shift = torch.tensor([0.1, -0.05])
    resized = resize_grid(still_grid(32) + shift, (77, 77))
    moved = resized - resize_grid(still_grid(32), (77, 77))
    torch.testing.assert_close(moved, shift.expand(1, 77, 77, 2), atol=1e-6, rtol=0)


def test_a_still_grid_gives_back_the_picture_and_beyond_it_the_border() -> None:
    picture = torch.rand(2, 3, 50, 50, generator=torch.Generator().manual_seed(1))
    still = still_grid(50).expand(2, -1, -1, -1)
    torch.testing.assert_close(warp_image(picture, still), picture, atol=1e-4, rtol=0)
    beyond = warp_image(picture, still + torch.tensor([4.0, 0.0]))
    torch.testing.assert_close(beyond, picture[..., -1:].expand_as(picture), atol=1e-4, rtol=0)
