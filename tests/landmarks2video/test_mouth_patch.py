import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.transform import Rotation

from talkhead.geometry.mesh import INNER_LIPS, MEAN_FACE
from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    LIP_MAP_PX,
    PATCH_HEIGHT_PX,
    PATCH_WIDTH_PX,
    cut_patches,
    draw_lips,
    lip_distances,
    lip_outlines,
    patch_placements,
    to_patch,
)
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]


def posed(angles_deg: tuple[float, float, float], scale: float, points: Floats) -> Floats:
    """Turn a mesh about its origin and enlarge it."""
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    return np.asarray(scale * points @ turn.T + np.array([300, 200, 0]), np.float32)


def test_an_upper_lip_stays_where_it_is_while_the_head_moves() -> None:
    lip = MEAN_FACE[INNER_LIPS[3:8]][None, :, :2]
    faces = [
        posed(angles, scale, MEAN_FACE)
        for angles, scale in (
            ((0, 0, 0), 100),
            ((0, 0, 25), 60),
            ((10, 0, 0), 100),
            ((0, 20, 0), 240),
        )
    ]
    meshes = np.stack(faces)
    placements = patch_placements(meshes)
    places = to_patch(meshes[:, INNER_LIPS[3:8], :2], placements)
    assert places == pytest.approx(np.broadcast_to(places[:1], places.shape), abs=3.0)
    assert places[1] == pytest.approx(places[0], abs=0.1)  # in the plane it is exact
    width = np.ptp(places[0, :, 0])
    assert width == pytest.approx(160 * np.ptp(lip[0, :, 0]), rel=0.02)


def test_a_dropping_jaw_does_not_move_the_patch() -> None:
    closed = mean_mesh(100, 200, 150)
    meshes = np.stack([closed, opened(closed, 20.0)])
    first, second = patch_placements(meshes)
    assert first == pytest.approx(second, abs=1e-3)


@pytest.mark.parametrize("width_px", [40.0, 160.0, 480.0])
def test_patches_show_the_picture_at_any_scale(width_px: float) -> None:
    side = round(3 * width_px)
    mesh = mean_mesh(width_px, side / 2, side / 2)[None]
    line = (torch.arange(side) + 0.5) / side
    picture = torch.stack([line.expand(side, side), line[:, None].expand(side, side)])[None]
    picture = torch.cat([picture, torch.zeros(1, 1, side, side)], 1)
    placements = patch_placements(mesh)
    patch = cut_patches(picture, torch.from_numpy(placements))
    assert patch.shape == (1, 3, PATCH_HEIGHT_PX, PATCH_WIDTH_PX)
    corners = np.array([[20.5, 10.5, 1], [139.5, 117.5, 1]], np.float32) @ placements[0].T
    assert patch[0, :2, 10, 20].numpy() * side == pytest.approx(corners[0], abs=0.01 * side)
    assert patch[0, :2, 117, 139].numpy() * side == pytest.approx(corners[1], abs=0.01 * side)


def test_distances_to_an_outline_are_exact_and_positive_inside() -> None:
    square = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]])
    places = torch.tensor([[[[2.0, 2.0], [1.0, 3.5], [-3.0, 2.0], [7.0, 8.0]]]])
    assert lip_distances(square, places)[0, 0].tolist() == pytest.approx([2.0, 0.5, -3.0, -5.0])


def test_an_outline_may_run_either_way_round() -> None:
    ring = torch.from_numpy(lip_outlines(mean_mesh()[None], patch_placements(mean_mesh()[None])))
    both = torch.cat([ring, ring.flip(1).roll(20, 1)])  # each ring reversed, in the same order
    inner, reversed_inner = draw_lips(both)[:, 0]
    assert torch.allclose(inner, reversed_inner, atol=1e-5)


def test_lip_maps_say_how_far_the_mouth_is_open() -> None:
    closed = mean_mesh(100, 200, 150)
    meshes = np.stack([opened(closed, by) for by in (0.0, 10.0, 30.0)])
    maps = draw_lips(torch.from_numpy(lip_outlines(meshes, patch_placements(meshes))))
    assert maps.shape == (3, 2, PATCH_HEIGHT_PX // LIP_MAP_PX, PATCH_WIDTH_PX // LIP_MAP_PX)
    inside = (maps[:, 0] > 0).sum((1, 2)).tolist()
    assert inside[0] < inside[1] < inside[2]
    assert bool((maps[:, 1] >= maps[:, 0] - 1e-4).all())  # the outer lips enclose the inner ones
    assert float(maps.abs().max()) <= 1
    assert DISTANCE_UNIT_PX * float(maps[2, 0].max()) > 8
