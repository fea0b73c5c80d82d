from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from talkhead.geometry import mesh
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]

RINGS = {
    "outer lips": (mesh.OUTER_LIPS, mesh.OUTER_LIPS),
    "inner lips": (mesh.INNER_LIPS, mesh.INNER_LIPS),
    "upper inner lip": (mesh.UPPER_INNER_LIP, mesh.UPPER_INNER_LIP),
    "lower inner lip": (mesh.LOWER_INNER_LIP, mesh.LOWER_INNER_LIP),
    "eyes": (mesh.RIGHT_EYE, mesh.LEFT_EYE),
    "irises": (mesh.RIGHT_IRIS, mesh.LEFT_IRIS),
    "brows": (mesh.RIGHT_BROW, mesh.LEFT_BROW),
    "face oval": (mesh.FACE_OVAL, mesh.FACE_OVAL),
    "nose bridge": (mesh.NOSE_BRIDGE, mesh.NOSE_BRIDGE),
    "stable points": (mesh.STABLE_POINTS, mesh.STABLE_POINTS),
}


def numbered() -> Floats:
    """Point i is at (i, 10 i, -i)."""
    return np.arange(mesh.NUM_POINTS, dtype=np.float32)[:, None] * np.array([1, 10, -1], np.float32)


def edges(triangles: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    return [(int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3)]


def test_mirroring_twice_changes_nothing() -> None:
    assert (mesh.MIRROR[mesh.MIRROR] == np.arange(mesh.NUM_POINTS)).all()


@pytest.mark.parametrize("name", RINGS)
def test_a_contour_is_mirrored_onto_its_partner(name: str) -> None:
    right, left = RINGS[name]
    assert set(mesh.MIRROR[right].tolist()) == set(left.tolist())


def test_a_ring_keeps_its_neighbours_in_the_mirror() -> None:
    for right, left in RINGS.values():
        if len(right) not in (16, 20, 36):
            continue
        mirrored = mesh.MIRROR[right].tolist()
        ring = left.tolist()
        steps = {(ring.index(b) - ring.index(a)) % len(ring) for a, b in pairwise(mirrored)}
        assert steps in ({1}, {len(ring) - 1})


def test_points_on_the_middle_line_are_their_own_mirror_image() -> None:
    own = np.equal(mesh.MIRROR, np.arange(mesh.NUM_POINTS))
    assert {0, 1, 4, 6, 10, 13, 14, 17, mesh.CHIN, 168} <= set(np.flatnonzero(own).tolist())
    np.testing.assert_allclose(mesh.MEAN_FACE[own, 0], 0, atol=1e-6)


def test_the_mean_face_is_symmetric_and_one_eye_distance_wide() -> None:
    flipped = mesh.MEAN_FACE * np.array([-1, 1, 1], np.float32)
    np.testing.assert_allclose(flipped[mesh.MIRROR], mesh.MEAN_FACE, atol=1e-6)
    corners = mesh.MEAN_FACE[[mesh.RIGHT_EYE_CORNER, mesh.LEFT_EYE_CORNER]]
    assert np.linalg.norm(corners[0] - corners[1]) == pytest.approx(1, abs=1e-5)


def test_the_mean_face_looks_at_the_camera_with_its_right_side_on_the_left() -> None:
    face = mesh.MEAN_FACE
    assert face[mesh.RIGHT_EYE_CORNER, 0] < face[mesh.LEFT_EYE_CORNER, 0]
    assert face[10, 1] < face[168, 1] < face[4, 1] < face[13, 1] < face[14, 1] < face[mesh.CHIN, 1]
    assert face[4, 2] < face[mesh.RIGHT_EYE_CORNER, 2] < face[234, 2]  # the nose is nearest


def test_there_are_898_triangles_of_surface_points() -> None:
    assert mesh.TRIANGLES.shape == (898, 3)
    assert mesh.TRIANGLES.min() >= 0
    assert set(mesh.TRIANGLES.ravel().tolist()) == set(range(mesh.NUM_SURFACE_POINTS))
    assert len({tuple(sorted(t)) for t in mesh.TRIANGLES.tolist()}) == 898


def test_every_triangle_of_the_mean_face_turns_clockwise_on_the_screen() -> None:
    corners = mesh.MEAN_FACE[mesh.TRIANGLES][..., :2]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] > 0).all()  # y points down


def test_an_edge_has_two_triangles_and_on_the_face_oval_one() -> None:
    directed = Counter(edges(mesh.TRIANGLES))
    assert set(directed.values()) == {1}  # neighbours traverse a shared edge in opposite directions
    uses = Counter(tuple(sorted(edge)) for edge in directed)
    assert set(uses.values()) == {1, 2}
    border = {edge for edge, count in uses.items() if count == 1}
    oval = mesh.FACE_OVAL.tolist()
    ring = {tuple(sorted(pair)) for pair in zip(oval, oval[1:] + oval[:1], strict=True)}
    assert border == ring


def test_mouth_triangles_fill_the_inner_lips() -> None:
    triangles = mesh.TRIANGLES[mesh.MOUTH_TRIANGLES]
    assert len(triangles) == len(mesh.INNER_LIPS) - 2
    uses = Counter(tuple(sorted(edge)) for edge in edges(triangles))
    lips = mesh.INNER_LIPS.tolist()
    ring = {tuple(sorted(pair)) for pair in zip(lips, lips[1:] + lips[:1], strict=True)}
    assert {edge for edge, count in uses.items() if count == 1} == ring
    points = mesh.MEAN_FACE[:, :2]
    corners = points[triangles]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    covered = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum() / 2
    x, y = points[mesh.INNER_LIPS].T
    shoelace = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert covered == pytest.approx(shoelace, rel=1e-5)


def test_points_of_the_two_inner_lips_face_each_other() -> None:
    upper = mesh.MEAN_FACE[mesh.UPPER_INNER_LIP]
    lower = mesh.MEAN_FACE[mesh.LOWER_INNER_LIP]
    assert (lower[:, 1] > upper[:, 1]).all()
    assert np.abs(lower[:, 0] - upper[:, 0]).max() < 0.05
    both = {*mesh.UPPER_INNER_LIP.tolist(), *mesh.LOWER_INNER_LIP.tolist()}
    corners = {mesh.RIGHT_MOUTH_CORNER, mesh.LEFT_MOUTH_CORNER}
    assert both | corners == set(mesh.INNER_LIPS.tolist())


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, 127),
        (3, (132 + 58) / 2),
        (8, 152),
        (12, (397 + 288) / 2),
        (17, 70),
        (21, 107),
        (22, 336),
        (27, (168 + 6) / 2),
        (30, 4),
        (33, 2),
        (36, 33),
        (39, 133),
        (42, 362),
        (45, 263),
        (48, 61),
        (51, 0),
        (54, 291),
        (57, 17),
        (60, 78),
        (62, 13),
        (64, 308),
        (66, 14),
    ],
)
def test_the_68_point_view_takes_these_points(number: int, expected: float) -> None:
    view = mesh.to_ibug68(numbered())
    assert view.shape == (68, 3)
    assert view.dtype == np.float32
    np.testing.assert_allclose(view[number], np.multiply(expected, [1, 10, -1]))


def test_the_68_point_view_takes_any_number_of_leading_axes() -> None:
    stack = np.stack([numbered(), 2 * numbered()])[:, None]
    view = mesh.to_ibug68(stack)
    assert view.shape == (2, 1, 68, 3)
    np.testing.assert_array_equal(view[1, 0], 2 * mesh.to_ibug68(numbered()))


def test_the_68_point_view_of_eyes_and_lips_is_symmetric() -> None:
    view = mesh.to_ibug68(mesh.MEAN_FACE)
    pairs = [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (48, 54), (49, 53)]
    pairs += [(50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65), (31, 35), (17, 26)]
    right, left = view[[a for a, _ in pairs]], view[[b for _, b in pairs]]
    np.testing.assert_allclose(right * np.array([-1, 1, 1], np.float32), left, atol=1e-6)


def test_opening_and_width_of_the_mouth_are_in_eye_distances() -> None:
    points = np.zeros((mesh.NUM_POINTS, 3), np.float32)
    points[mesh.LEFT_EYE_CORNER] = 30, 40, 0  # 50 away from the right one, in a tilted head
    points[mesh.LOWER_LIP_CENTRE] = 0, 10, 7  # depth does not count as opening
    points[mesh.LEFT_MOUTH_CORNER] = 15, 20, 0
    assert mesh.mouth_opening(points) == pytest.approx(10 / 50)
    assert mesh.mouth_width(points) == pytest.approx(25 / 50)


def test_a_dropped_jaw_opens_the_mouth_and_leaves_its_size_to_the_eyes() -> None:
    shut, wide = mean_mesh(100), opened(mean_mesh(100), 20)
    assert mesh.mouth_opening(wide) - mesh.mouth_opening(shut) == pytest.approx(0.2, abs=1e-3)
    both = np.stack([shut, wide])
    np.testing.assert_allclose(mesh.mouth_opening(3 * both), mesh.mouth_opening(both), rtol=1e-5)
    assert mesh.mouth_opening(both).shape == (2,)


def test_over_a_clips_own_unit_eye_corners_that_tremble_leave_the_mouth_alone() -> None:
    clip = np.repeat(mean_mesh(100)[None], 9, 0)
    clip[::2, mesh.LEFT_EYE_CORNER, 0] += 3
    unit = mesh.eye_distance(clip)
    assert unit == pytest.approx(103, abs=0.1)  # with five frames; with four it is 100
    for measure in (mesh.mouth_opening, mesh.mouth_width):
        assert measure(clip, unit).std() == pytest.approx(0, abs=1e-6)
    assert mesh.mouth_width(clip).std() > 0.005
    assert mesh.mouth_width(clip, unit)[1] == pytest.approx(mesh.mouth_width(clip)[0], rel=1e-3)


def test_tables_cannot_be_changed_by_mistake() -> None:
    for table in (mesh.OUTER_LIPS, mesh.FACE_OVAL):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1
