from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.draw import polygon2mask

from talkhead.geometry.crop import CROP_SIDE_PX, face_crop
from talkhead.geometry.mesh import FACE_OVAL, INNER_LIPS, LOWER_INNER_LIP, UPPER_INNER_LIP
from talkhead.landmarks2video.conditioning import (
    CAVITY_SHADE,
    DISPLACEMENT_UNIT_PX,
    MAP_SIDE_PX,
    NUM_MAPS,
    cavity_shade,
    draw_maps,
    warp_identity,
    warp_lower_face,
)
from talkhead.landmarks2video.region import lower_face
from talkhead.landmarks2video.warp import resize_grid, warp_image
from tests.meshes import as_batch, crop_mesh, mean_mesh, opened

Floats = npt.NDArray[np.float32]


def filled(points: Floats, ring: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """A ring of points filled by scikit-image at the resolution of the maps."""
    corners = points[ring, 1::-1] * (MAP_SIDE_PX / CROP_SIDE_PX) - 0.5  # (row, column)
    fill: Callable[..., npt.NDArray[np.bool_]] = polygon2mask
    return np.asarray(fill((MAP_SIDE_PX, MAP_SIDE_PX), corners))


def test_there_are_nine_maps_and_a_grid_at_half_the_resolution() -> None:
    grid, maps = draw_maps(as_batch(crop_mesh()), as_batch(crop_mesh(), opened(crop_mesh(), 9)))
    assert maps.shape == (2, NUM_MAPS, MAP_SIDE_PX, MAP_SIDE_PX)
    assert grid.shape == (2, MAP_SIDE_PX, MAP_SIDE_PX, 2)
    assert maps.dtype == grid.dtype == torch.float32
    assert maps.isfinite().all()


@pytest.mark.parametrize("drop_px", [0.0, 18.0])
def test_mouth_and_face_are_the_insides_of_their_contours(drop_px: float) -> None:
    target = opened(crop_mesh(), drop_px)
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(target))
    for index, ring in ((0, INNER_LIPS), (1, FACE_OVAL)):
        made = maps[0, index].numpy()
        assert set(np.unique(made)) == {0, 1}
        wrong = (made > 0) != filled(target, ring)
        border = len(ring) + np.abs(np.diff(made, axis=0)).sum()
        assert wrong.sum() <= 0.1 * border  # only pixels on the contour itself


def test_places_on_a_mean_face_are_its_own_coordinates() -> None:
    crop = face_crop(mean_mesh())
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(crop_mesh()))
    skin = ((maps[0, 1] > 0) & (maps[0, 0] == 0)).numpy()
    row, column = np.nonzero(skin)
    middles = np.stack([column, row], -1).astype(np.float32) * 2 + 1  # crop pixels
    expected = crop.to_picture(middles) / 100
    np.testing.assert_allclose(maps[0, 2:4].numpy()[:, skin].T, expected, atol=2e-3)
    nose = (crop_mesh()[4, :2] / 2).astype(int)
    assert maps[0, 4, nose[1], nose[0]] == maps[0, 4].min()  # the tip is nearest


def test_places_move_with_the_target_and_not_with_the_identity() -> None:
    face, shift = crop_mesh(), np.array([8, -6, 0], np.float32)  # whole pixels of the maps
    _, here = draw_maps(as_batch(face), as_batch(face))
    _, there = draw_maps(as_batch(face), as_batch(face + shift))
    moved = here[..., 3:, :-4]
    torch.testing.assert_close(there[:, :2, :-3, 4:], moved[:, :2])
    torch.testing.assert_close(there[:, 2:5, :-3, 4:], moved[:, 2:5], atol=1e-3, rtol=0)


def test_displacement_is_that_of_the_mesh_in_its_unit() -> None:
    face, shift = crop_mesh(), np.array([5, -3, 2], np.float32)
    _, maps = draw_maps(as_batch(face), as_batch(face + shift))
    skin = (maps[0, 1] > 0) & (maps[0, 0] == 0)
    for axis in range(3):
        on_skin = maps[0, 5 + axis][skin]
        expected = torch.full_like(on_skin, float(shift[axis]) / DISPLACEMENT_UNIT_PX)
        torch.testing.assert_close(on_skin, expected, atol=1e-3, rtol=0)
    _, still = draw_maps(as_batch(face), as_batch(face))
    assert still[0, 5:8].abs().max() < 1e-4


def test_outside_the_face_there_is_neither_mouth_nor_place() -> None:
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(opened(crop_mesh(), 10)))
    outside = maps[0, 1] == 0
    assert outside.float().mean() > 0.4
    for index in (0, 2, 3, 4, 8):
        assert (maps[0, index][outside] == 0).all()


def test_the_mouth_has_no_place_on_the_skin() -> None:
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(opened(crop_mesh(), 10)))
    mouth = maps[0, 0] > 0
    assert mouth.sum() > 20
    assert (maps[0, 2:5][:, mouth] == 0).all()


def test_the_cavity_is_what_the_identity_does_not_show() -> None:
    face = crop_mesh()
    wide = opened(face, 24)
    _, maps = draw_maps(as_batch(face), as_batch(wide))
    cavity, mouth = maps[0, 8].numpy() > 0, maps[0, 0].numpy() > 0
    assert (mouth | ~cavity).all()
    # By hand, in the middle of the mouth: below the upper lip shows the identity's own opening.
    column = int(wide[13, 0] / 2)
    gap = face[14, 1] - face[13, 1]
    assert 2 * (mouth & ~cavity)[:, column].sum() == pytest.approx(gap, abs=2.1)
    assert 2 * cavity[:, column].sum() == pytest.approx(24, abs=2.1)
    for target in (face, opened(face, -gap / 2)):
        _, maps = draw_maps(as_batch(face), as_batch(target))
        assert (maps[0, 8] == 0).all()


def test_lips_that_touch_have_no_mouth() -> None:
    face = crop_mesh()
    face[LOWER_INNER_LIP] = face[UPPER_INNER_LIP]
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(face))
    assert maps[0, 0].sum() == 0
    assert maps[0, 1].sum() > 1000


def test_one_identity_serves_a_batch_of_targets() -> None:
    targets = as_batch(opened(crop_mesh(), 5), opened(crop_mesh(), 10))
    identity = as_batch(crop_mesh())
    one, one_maps = draw_maps(identity, targets)
    two, two_maps = draw_maps(identity.repeat(2, 1, 1), targets)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one_maps, two_maps)


def test_only_the_cavity_of_the_warped_identity_is_darkened() -> None:
    face = crop_mesh()
    grid, maps = draw_maps(as_batch(face), as_batch(opened(face, 24)))
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = warp_image(image, resize_grid(grid, (256, 256)))
    warped = warp_identity(image, grid, maps)
    cavity = torch.nn.functional.interpolate(maps[:, 8:9], scale_factor=2.0)[0, 0] > 0
    far = torch.nn.functional.max_pool2d(cavity[None, None].float(), 15, 1, 7)[0, 0] == 0
    torch.testing.assert_close(warped[..., far], plain[..., far], atol=1e-5, rtol=0)
    deep = torch.nn.functional.max_pool2d(1 - cavity[None, None].float(), 13, 1, 6)[0, 0] == 0
    assert deep.any()
    expected = (plain[..., deep] + 1) * CAVITY_SHADE - 1
    torch.testing.assert_close(warped[..., deep], expected, atol=1e-3, rtol=0)


def test_the_lower_face_alone_is_warped_as_in_the_whole() -> None:
    face = crop_mesh()
    grid, maps = draw_maps(as_batch(face), as_batch(opened(face, 24)))
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = lower_face(warp_identity(image, grid, maps))
    torch.testing.assert_close(warp_lower_face(image, grid, maps), whole, atol=1e-6, rtol=0)


def test_the_shade_darkens_the_cavity_alone() -> None:
    _, maps = draw_maps(as_batch(crop_mesh()), as_batch(opened(crop_mesh(), 24)))
    shade = cavity_shade(maps)
    assert shade.shape == (1, 1, 128, 128)
    assert CAVITY_SHADE - 1e-4 <= float(shade.min()) < 0.5
    assert float(shade.max()) == pytest.approx(1)
