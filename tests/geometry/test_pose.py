import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from talkhead.geometry.mesh import MEAN_FACE, STABLE_POINTS
from talkhead.geometry.pose import (
    HeadPose,
    angles_from_rotation,
    fit_head_pose,
    fit_similarity,
    rotation_from_angles,
)
from tests.meshes import mean_mesh, opened

Floats = npt.NDArray[np.float32]


def poses(count: int, seed: int = 0) -> HeadPose:
    rng = np.random.default_rng(seed)
    return HeadPose(
        scale=rng.uniform(20, 400, count).astype(np.float32),
        rotation=Rotation.random(count, rng).as_matrix().astype(np.float32),
        translation=rng.normal(0, 300, (count, 3)).astype(np.float32),
    )


def test_a_known_transform_is_recovered() -> None:
    known = poses(20)
    found = fit_similarity(MEAN_FACE, known.to_picture(MEAN_FACE))
    np.testing.assert_allclose(found.scale, known.scale, rtol=1e-4)
    np.testing.assert_allclose(found.rotation, known.rotation, atol=1e-4)
    np.testing.assert_allclose(found.translation, known.translation, atol=0.02)


def test_a_transform_and_its_inverse_cancel() -> None:
    known = poses(5)
    points = np.random.default_rng(1).normal(size=(5, 478, 3)).astype(np.float32)
    np.testing.assert_allclose(known.to_face(known.to_picture(points)), points, atol=1e-3)


def test_a_transform_by_hand() -> None:
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # x becomes y
    pose = HeadPose(np.array(2, np.float32), quarter, np.array([10, 20, 30], np.float32))
    np.testing.assert_allclose(
        pose.to_picture(np.array([[1, 0, 0], [0, 1, 5]], np.float32)), [[10, 22, 30], [8, 20, 40]]
    )


def test_the_rotation_agrees_with_scipy_on_noisy_points() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(size=(40, 3)).astype(np.float32)
    turn = Rotation.from_euler("xyz", [20, -30, 10], degrees=True)
    target = (turn.apply(source) + rng.normal(0, 0.2, source.shape)).astype(np.float32)
    reference, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    found = fit_similarity(source, target)
    np.testing.assert_allclose(found.rotation, reference.as_matrix(), atol=1e-4)


def test_no_other_similarity_fits_noisy_points_better() -> None:
    rng = np.random.default_rng(3)
    target = poses(1).to_picture(MEAN_FACE[None])[0]
    target = target + rng.normal(0, 5, target.shape).astype(np.float32)
    best = fit_similarity(MEAN_FACE, target)

    def cost(pose: HeadPose) -> float:
        return float(np.square(pose.to_picture(MEAN_FACE) - target).sum())

    for _ in range(20):
        nudge = Rotation.from_rotvec(rng.normal(0, 0.02, 3)).as_matrix().astype(np.float32)
        other = HeadPose(
            best.scale * np.float32(rng.normal(1, 0.02)),
            nudge @ best.rotation,
            best.translation + rng.normal(0, 0.5, 3).astype(np.float32),
        )
        assert cost(other) > cost(best)


def test_a_mirrored_face_is_fitted_by_a_rotation_and_never_by_a_reflection() -> None:
    mirrored = MEAN_FACE * np.array([-1, 1, 1], np.float32)
    rng = np.random.default_rng(4)
    for source in (MEAN_FACE, rng.normal(size=(30, 3)).astype(np.float32)):
        flipped = source * np.array([-1, 1, 1], np.float32)
        found = fit_similarity(source, flipped)
        assert np.linalg.det(found.rotation) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-4)
    found = fit_similarity(MEAN_FACE, mirrored)
    assert found.scale > 0


def test_a_batch_is_fitted_as_each_of_it() -> None:
    targets = poses(4).to_picture(MEAN_FACE)
    together = fit_similarity(MEAN_FACE, targets)
    for index, target in enumerate(targets):
        alone = fit_similarity(MEAN_FACE, target)
        np.testing.assert_allclose(alone.rotation, together.rotation[index], atol=1e-6)
        np.testing.assert_allclose(alone.scale, together.scale[index], rtol=1e-6)


def test_the_head_pose_does_not_follow_the_jaw() -> None:
    known = poses(6)
    shapes = np.stack([opened(MEAN_FACE, 0.05 * index) for index in range(6)])
    found = fit_head_pose(known.to_picture(shapes))
    np.testing.assert_allclose(found.rotation, known.rotation, atol=1e-3)
    np.testing.assert_allclose(found.scale, known.scale, rtol=1e-3)


def test_the_head_pose_uses_the_stable_points_alone() -> None:
    points = mean_mesh(100, 50, 60)
    moved = points + np.random.default_rng(5).normal(0, 20, points.shape).astype(np.float32)
    moved[STABLE_POINTS] = points[STABLE_POINTS]
    found = fit_head_pose(moved)
    assert found.scale == pytest.approx(100, rel=1e-4)
    np.testing.assert_allclose(found.translation, [50, 60, 0], atol=0.01)


def test_the_head_pose_of_a_persons_own_shape_is_exact() -> None:
    own = MEAN_FACE * np.array([1.2, 0.9, 1], np.float32)
    known = poses(3)
    found = fit_head_pose(known.to_picture(own), own)
    np.testing.assert_allclose(found.rotation, known.rotation, atol=1e-3)


def test_angles_turn_about_x_then_y_then_z_as_scipy_does() -> None:
    angles = np.random.default_rng(6).uniform(-1, 1, (7, 3)).astype(np.float32)
    expected = Rotation.from_euler("xyz", angles).as_matrix()  # lower case means fixed axes
    np.testing.assert_allclose(rotation_from_angles(angles), expected, atol=1e-6)
    np.testing.assert_allclose(rotation_from_angles(angles[0]), expected[0], atol=1e-6)


def test_no_angle_turns_nothing() -> None:
    turned = rotation_from_angles(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(turned, np.eye(3)[None].repeat(2, 0))


def test_angles_come_back_from_rotations() -> None:
    angles = np.random.default_rng(0).uniform(-1.4, 1.4, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        angles_from_rotation(rotation_from_angles(angles)), angles, atol=1e-4
    )
    one = angles_from_rotation(rotation_from_angles(angles[7]))
    np.testing.assert_allclose(one, angles[7], atol=1e-4)
