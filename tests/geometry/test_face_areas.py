import numpy as np
import pytest

from talkhead.geometry.face_areas import Area, face_areas
from tests.meshes import mean_mesh

SIZE = (400, 300)


def test_one_face_has_the_whole_picture() -> None:
    assert face_areas([mean_mesh(40, 200, 150)], SIZE) == [Area(0, 0, 400, 300)]


def test_equal_faces_side_by_side_are_divided_in_the_middle() -> None:
    left, right = face_areas([mean_mesh(40, 100, 150), mean_mesh(40, 300, 150)], SIZE)
    assert left == Area(0, 0, left.right, 300)
    assert right == Area(left.right, 0, 400, 300)
    assert left.right == pytest.approx(200, abs=1)


def test_faces_one_above_the_other_are_divided_by_a_row() -> None:
    lower, upper = face_areas([mean_mesh(30, 210, 240), mean_mesh(30, 190, 60)], SIZE)
    assert upper == Area(0, 0, 400, upper.bottom)
    assert lower == Area(0, upper.bottom, 400, 300)


def test_the_larger_face_gets_more_of_the_gap() -> None:
    faces = [mean_mesh(60, 100, 150), mean_mesh(20, 300, 150)]
    areas = face_areas(faces, SIZE)
    gap = [faces[0][:, 0].max(), faces[1][:, 0].min()]
    assert areas[0].right - gap[0] == pytest.approx(3 * (gap[1] - areas[0].right), abs=4)


@pytest.mark.parametrize("seed", range(20))
def test_areas_never_overlap_and_hold_the_middle_of_their_face(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces = [
        mean_mesh(float(rng.uniform(10, 40)), float(x), float(y))
        for x, y in rng.uniform((0, 0), SIZE, (4, 2))
    ]
    areas = face_areas(faces, SIZE)
    taken = np.zeros((SIZE[1], SIZE[0]), int)
    for area in areas:
        taken[area.top : area.bottom, area.left : area.right] += 1
    assert taken.max() <= 1
    apart = min(
        float(np.abs(a[:, :2].mean(0) - b[:, :2].mean(0)).max() / np.ptp(a[:, 0]))
        for a in faces
        for b in faces
        if a is not b
    )
    if apart > 2:
        for face, area in zip(faces, areas, strict=True):
            x, y = face[:, :2].mean(0)
            assert area.left - 20 <= x <= area.right + 20
            assert area.top - 20 <= y <= area.bottom + 20
