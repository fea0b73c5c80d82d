import numpy as np
import numpy.typing as npt
import pytest

from talkhead.geometry.mesh import MEAN_FACE, NUM_POINTS
from talkhead.geometry.pose import HeadPose, rotation_from_angles
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES, Registration


def turned(yaw_deg: float, *, scale: float = 80.0, jaw: float = 0.0) -> npt.NDArray[np.float32]:
    """A face turned to the side, with its chin dropped by `jaw` eye distances."""
    face = MEAN_FACE.copy()
    face[face[:, 1] > 0.5, 1] += jaw
    rotation = rotation_from_angles(np.radians([0.0, yaw_deg, 0.0]).astype(np.float32))
    pose = HeadPose(np.array(scale, np.float32), rotation, np.array([128, 120, 0], np.float32))
    return pose.to_picture(face)


@pytest.fixture
def registration() -> Registration:
    rng = np.random.default_rng(0)
    return Registration(
        rng.normal(0, 0.1, (3, NUM_POINTS, 3)).astype(np.float32),
        rng.normal(0, 0.02, (NUM_POSE_FEATURES + 3, NUM_POINTS, 2)).astype(np.float32),
    )


def test_the_identity_itself_stays_where_it_is(registration: Registration) -> None:
    face = turned(7)
    np.testing.assert_allclose(registration.apply(face, face[None])[0], face, atol=1e-4)


def test_place_and_size_of_the_face_do_not_matter(registration: Registration) -> None:
    one, other = turned(-5), np.stack([turned(8, jaw=0.1), turned(0)])
    shift = registration.apply(one, other) - other
    assert np.abs(shift).max() > 0.1
    assert np.array_equal(shift[..., 2], np.zeros_like(shift[..., 2]))
    moved = registration.apply(2.5 * one + 30, 2.5 * other + 30) - (2.5 * other + 30)
    np.testing.assert_allclose(moved, 2.5 * shift, atol=2e-3)


def test_a_turn_moves_points_by_its_own_weight() -> None:
    weights = np.zeros((NUM_POSE_FEATURES + 1, NUM_POINTS, 2), np.float32)
    weights[1, 10] = 0.03, -0.01
    registration = Registration(np.zeros((1, NUM_POINTS, 3), np.float32), weights)
    front, side = turned(0), turned(10)
    shift = (registration.apply(front, side[None])[0] - side)[:, :2]
    # The feature is five times an entry of the rotation: the sine of the angle, up to its sign.
    size = 5 * np.sin(np.radians(10)) * 80
    np.testing.assert_allclose(np.abs(shift[10]), [0.03 * size, 0.01 * size], rtol=1e-3)
    assert not np.delete(shift, 10, axis=0).any()
    back = (registration.apply(side, front[None])[0] - front)[:, :2]
    np.testing.assert_allclose(back, -shift, atol=1e-4)
