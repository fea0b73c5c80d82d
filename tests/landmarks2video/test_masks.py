import numpy as np
import pytest
import torch

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import CHIN, LOWER_INNER_LIP, MIRROR, UPPER_INNER_LIP
from talkhead.landmarks2video.conditioning import MAP_SIDE_PX, draw_maps
from talkhead.landmarks2video.masks import (
    EYE_GAP_PX,
    FEATHER_PX,
    LOWER_EYELIDS,
    blur,
    lower_face_mask,
    seam_mask,
    soft_mask,
)
from tests.meshes import as_batch, crop_mesh, opened, turning

SCALE = MAP_SIDE_PX / CROP_SIDE_PX


def test_the_mask_is_the_face_below_the_eyes() -> None:
    face = crop_mesh()
    _, maps = draw_maps(as_batch(face), as_batch(face))
    mask = lower_face_mask(as_batch(face), maps)[0, 0]
    first = int(np.ceil((face[list(LOWER_EYELIDS), 1].max() + EYE_GAP_PX) * SCALE - 0.5))
    assert mask[:first].sum() == 0
    torch.testing.assert_close(mask[first:], maps[0, 1, first:])
    assert mask[first].sum() > 0


def test_the_mask_begins_below_the_lower_eye_of_a_tilted_head() -> None:
    face = crop_mesh()
    middle = face.mean(0)
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    tilted = ((face - middle) @ turn.T + middle).astype(np.float32)
    _, maps = draw_maps(as_batch(face), as_batch(tilted))
    mask = lower_face_mask(as_batch(tilted), maps)[0, 0]
    rows = torch.nonzero(mask.sum(1))
    assert float(rows.min() + 0.5) / SCALE > tilted[list(LOWER_EYELIDS), 1].max() + EYE_GAP_PX


def test_the_mask_follows_the_jaw() -> None:
    face = crop_mesh()
    targets = as_batch(face, opened(face, 16))
    _, maps = draw_maps(as_batch(face), targets)
    masks = lower_face_mask(targets, maps)
    column = int(face[CHIN, 0] * SCALE)
    lowest = [int(torch.nonzero(mask[0, :, column]).max()) for mask in masks]
    assert lowest[1] - lowest[0] == 16 * SCALE


def test_the_soft_mask_is_zero_outside_the_hard_one_and_one_inside() -> None:
    for face in (crop_mesh(), turning(0.5, crop_mesh())):
        _, maps = draw_maps(as_batch(face), as_batch(face))
        hard, soft = lower_face_mask(as_batch(face), maps), soft_mask(as_batch(face), maps)
        assert float(soft.min()) >= 0
        assert float(soft.max()) <= 1 + 1e-6
        assert (soft[hard == 0] == 0).all()
        reach = 2 * round(FEATHER_PX * SCALE) + 1
        outside = torch.nn.functional.max_pool2d(1 - hard, 2 * reach + 1, 1, reach)
        torch.testing.assert_close(soft[outside == 0], torch.ones_like(soft[outside == 0]))


def test_the_soft_mask_has_no_step() -> None:
    face = crop_mesh()
    _, maps = draw_maps(as_batch(face), as_batch(face))
    soft = soft_mask(as_batch(face), maps)
    for axis in (2, 3):
        assert float(soft.diff(dim=axis).abs().max()) < 0.4


def test_the_mask_of_a_symmetric_face_is_symmetric() -> None:
    face = crop_mesh()
    mirrored = face[MIRROR] * np.array([-1, 1, 1], np.float32) + np.array(
        [CROP_SIDE_PX, 0, 0], np.float32
    )
    _, maps = draw_maps(as_batch(face), as_batch(face))
    _, flipped = draw_maps(as_batch(mirrored), as_batch(mirrored))
    one = soft_mask(as_batch(face), maps)
    other = soft_mask(as_batch(mirrored), flipped).flip(3)
    assert float((one - other).abs().mean()) < 1e-3


def test_each_of_a_batch_has_its_own_mask() -> None:
    targets = as_batch(crop_mesh(), opened(crop_mesh(), 12))
    _, maps = draw_maps(as_batch(crop_mesh()), targets)
    together = soft_mask(targets, maps)
    for index in range(2):
        alone = soft_mask(targets[index : index + 1], maps[index : index + 1])
        torch.testing.assert_close(together[index], alone[0])


def test_blurring_keeps_what_is_even_and_spreads_a_point_over_its_window() -> None:
    even = torch.full((1, 1, 9, 9), 0.7)
    torch.testing.assert_close(blur(even, 4), even)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    spread = blur(point, 4)[0, 0]
    # Two passes of a 5-pixel box give a triangle, 1 2 3 4 5 4 3 2 1 over 25, in each direction.
    triangle = torch.tensor([1.0, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    torch.testing.assert_close(spread[6:15, 6:15], triangle[:, None] * triangle[None])
    assert float(spread.sum()) == pytest.approx(1)


def test_the_smallest_blur_is_still_one() -> None:
    point = torch.zeros(1, 1, 7, 7)
    point[0, 0, 3, 3] = 1
    assert float(blur(point, 1).max()) < 0.2


def test_the_seam_is_where_lips_close_that_the_picture_shows_apart() -> None:
    closed, wide = crop_mesh(), opened(crop_mesh(), 14.0)
    _, maps = draw_maps(as_batch(wide), as_batch(closed))
    seam = seam_mask(as_batch(wide), as_batch(closed), maps)[0, 0]
    line = (closed[UPPER_INNER_LIP] + closed[LOWER_INNER_LIP])[:, :2] * SCALE / 2
    for x, y in line[2:-2].astype(int):
        assert seam[y, x] > 0.8
    rows, columns = torch.nonzero(seam > 0.05).unbind(1)
    assert rows.min() > line[:, 1].min() - 5
    assert rows.max() < line[:, 1].max() + 5
    assert columns.min() > line[:, 0].min() - 5
    assert columns.max() < line[:, 0].max() + 5


def test_lips_that_open_or_stay_have_no_seam() -> None:
    closed, wide = crop_mesh(), opened(crop_mesh(), 14.0)
    for target in (closed, wide):
        _, maps = draw_maps(as_batch(closed), as_batch(target))
        assert not seam_mask(as_batch(closed), as_batch(target), maps).any()
    _, maps = draw_maps(as_batch(wide), as_batch(wide, closed))
    both = seam_mask(as_batch(wide), as_batch(wide, closed), maps)
    alone = seam_mask(as_batch(wide), as_batch(closed), maps[1:])
    assert not both[0].any()
    torch.testing.assert_close(both[1:], alone)
