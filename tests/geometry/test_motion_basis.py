import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from talkhead.geometry.mesh import (
    LEFT_BROW,
    LEFT_EYE,
    LOWER_INNER_LIP,
    MEAN_FACE,
    MIRROR,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    STABLE_POINTS,
    UPPER_INNER_LIP,
    mouth_opening,
)
from talkhead.geometry.motion_basis import (
    MAX_REST_OPENING,
    MotionBasis,
    brow_region,
    close_lips,
    eye_closure,
    fit_blink,
    fit_motion_basis,
    identity_at_rest,
    lid_region,
    mouth_scale,
    proportions,
    rest_of_clip,
    separate_lips,
    speech_region,
    spoken_region,
)
from talkhead.geometry.pose import HeadPose
from tests.meshes import hand_made_basis, opened

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def basis() -> MotionBasis:
    return hand_made_basis()


def gap(points: Floats) -> Floats:
    return np.asarray(points[..., LOWER_INNER_LIP, 1] - points[..., UPPER_INNER_LIP, 1])


def posed(shapes: Floats, seed: int = 0) -> tuple[Floats, HeadPose]:
    """Rotate, scale and shift every shape differently, like a moving head."""
    rng = np.random.default_rng(seed)
    count = len(shapes)
    pose = HeadPose(
        scale=rng.uniform(80, 120, count).astype(np.float32),
        rotation=Rotation.from_euler("xyz", rng.uniform(-0.3, 0.3, (count, 3)))
        .as_matrix()
        .astype(np.float32),
        translation=rng.normal(200, 30, (count, 3)).astype(np.float32),
    )
    return pose.to_picture(shapes), pose


def test_nothing_is_deformed_without_coefficients(basis: MotionBasis) -> None:
    still = basis.deform(np.zeros((3, 4), np.float32), np.zeros(3, np.float32))
    assert still.shape == (3, 478, 3)
    assert still.dtype == np.float32
    assert not still.any()


def test_deformations_add_up(basis: MotionBasis) -> None:
    coefficients = np.array([[1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]], np.float32)
    made = basis.deform(coefficients, np.array([0, 1, 1], np.float32), amount=0.5)
    np.testing.assert_allclose(made[0], 0.5 * basis.components[0], atol=1e-6)
    np.testing.assert_allclose(made[1], basis.components[1] + basis.blink, atol=1e-6)
    np.testing.assert_allclose(made[2], made[0] + made[1], atol=1e-6)  # blinks are not scaled


def test_projecting_undoes_deforming(basis: MotionBasis) -> None:
    coefficients = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    made = basis.deform(coefficients, np.zeros(20, np.float32))
    np.testing.assert_allclose(basis.project(made), coefficients, atol=1e-3)


def test_projecting_is_least_squares(basis: MotionBasis) -> None:
    rng = np.random.default_rng(1)
    noisy = rng.normal(0, 0.1, (5, 478, 3)).astype(np.float32)
    flat = basis.components.reshape(4, -1)
    expected = np.linalg.lstsq(flat.T, noisy.reshape(5, -1).T, rcond=None)[0].T
    np.testing.assert_allclose(basis.project(noisy), expected, atol=1e-3)


def test_speech_belongs_to_the_mouth_and_not_to_eyes_and_brows() -> None:
    weight = speech_region()
    assert (weight[[13, 14, 61, 291, 152, 17]] == 1).all()
    assert (weight[[*RIGHT_EYE, *LEFT_EYE, 10, 105, 334]] < 0.02).all()
    assert (weight[468:] == 0).all()
    assert 0 <= weight.min() <= weight.max() <= 1


def test_lids_belong_to_the_eyes_and_not_to_the_mouth() -> None:
    weight = lid_region()
    assert (weight[[159, 145, 386, 374]] == 1).all()
    assert (weight[[*OUTER_LIPS, 152, 10, 4]] == 0).all()
    assert (weight[468:] == 0).all()


def test_closing_lips_closes_an_open_mouth(basis: MotionBasis) -> None:
    for shape in (MEAN_FACE, opened(MEAN_FACE, 0.1)):
        assert gap(shape).max() > 0.05
        closed = close_lips(shape, basis)
        assert gap(closed).max() <= MAX_REST_OPENING + 1e-4
        assert gap(closed).min() >= -1e-5
        assert closed.dtype == np.float32


def test_closing_lips_lifts_the_jaw_and_leaves_the_eyes_alone(basis: MotionBasis) -> None:
    closed = close_lips(MEAN_FACE, basis)
    np.testing.assert_allclose(closed[STABLE_POINTS], MEAN_FACE[STABLE_POINTS], atol=0.01)
    assert closed[152, 1] < MEAN_FACE[152, 1] - 0.03


def test_lips_that_are_closed_are_left_alone(basis: MotionBasis) -> None:
    closed = close_lips(MEAN_FACE, basis)
    np.testing.assert_allclose(close_lips(closed, basis), closed, atol=2e-4)
    shut = closed.copy()
    shut[LOWER_INNER_LIP, 1] = shut[UPPER_INNER_LIP, 1] + MAX_REST_OPENING / 2
    assert close_lips(shut, basis) is shut


def test_crossing_lips_meet_in_the_middle() -> None:
    crossing = opened(MEAN_FACE, -0.2)
    wide = opened(MEAN_FACE, 0.2)
    separated = separate_lips(np.stack([crossing, wide]))
    assert gap(separated).min() >= -1e-6
    np.testing.assert_array_equal(separated[1], wide)  # unchanged
    middle = (crossing[13, 1] + crossing[14, 1]) / 2
    np.testing.assert_allclose(separated[0, [13, 14], 1], middle, atol=1e-6)
    # Outer lips move half as far, and nothing else moves.
    moved = np.abs(separated[0] - crossing).max(1) > 0
    assert set(np.flatnonzero(moved).tolist()) <= {
        *UPPER_INNER_LIP.tolist(),
        *LOWER_INNER_LIP.tolist(),
        *OUTER_LIPS.tolist(),
    }
    upper = separated[0, 13, 1] - crossing[13, 1]
    assert separated[0, 0, 1] - crossing[0, 1] == pytest.approx(upper / 2, abs=1e-5)


def test_lips_never_cross_whatever_the_coefficients(basis: MotionBasis) -> None:
    coefficients = np.random.default_rng(2).normal(0, 4, (200, 4)).astype(np.float32)
    shapes = MEAN_FACE + basis.deform(coefficients, np.zeros(200, np.float32))
    assert gap(shapes).min() < -0.05
    assert gap(separate_lips(shapes)).min() >= -1e-6


def test_separating_with_a_limit_keeps_lips_within_it() -> None:
    shapes = np.stack([opened(MEAN_FACE, by) for by in (-0.2, 0.0, 0.2)])
    limited = gap(separate_lips(shapes, limit=0.02))
    assert limited.max() <= 0.02 + 1e-6
    assert limited.min() >= -1e-6


def test_separating_does_not_change_its_input() -> None:
    shapes = opened(MEAN_FACE, -0.2)[None]
    before = shapes.copy()
    separate_lips(shapes)
    np.testing.assert_array_equal(shapes, before)


def test_a_clip_rests_where_its_lips_are_closed(basis: MotionBasis) -> None:
    closed = close_lips(MEAN_FACE, basis)
    drop = np.maximum(np.sin(np.linspace(0, 12, 60)), 0) * 0.15
    points, pose = posed(np.stack([opened(closed, float(by)) for by in drop]))
    rest, found = rest_of_clip(points)
    assert mouth_opening(rest) == pytest.approx(float(mouth_opening(closed)), abs=0.003)
    np.testing.assert_allclose(found.rotation, pose.rotation, atol=0.01)
    # Where the lips are closed, pose and rest together reproduce the points.
    quiet = drop == 0
    np.testing.assert_allclose(found.to_picture(rest)[quiet], points[quiet], atol=0.5)


def test_a_clip_rests_the_same_wherever_the_camera_is(basis: MotionBasis) -> None:
    closed = close_lips(MEAN_FACE, basis)
    shapes = np.stack([opened(closed, by) for by in np.linspace(0, 0.2, 40)])
    one, _ = rest_of_clip(posed(shapes, seed=1)[0])
    other, _ = rest_of_clip(posed(shapes, seed=2)[0] * np.float32(3))
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_an_identity_rests_with_closed_lips_in_its_own_pose(basis: MotionBasis) -> None:
    points, pose = posed(opened(MEAN_FACE, 0.1)[None])
    rest, found = identity_at_rest(points[0], basis)
    assert gap(rest).max() <= MAX_REST_OPENING + 1e-3
    np.testing.assert_allclose(found.rotation, pose.rotation[0], atol=0.01)
    eyes = [33, 133, 362, 263]
    np.testing.assert_allclose(found.to_picture(rest)[eyes], points[0][eyes], atol=0.5)


@pytest.mark.parametrize(("width", "scale"), [(1.0, 1.0), (1.2, 1.2), (0.1, 0.6), (5.0, 1.5)])
def test_motion_is_scaled_to_the_width_of_the_mouth(width: float, scale: float) -> None:
    shape = MEAN_FACE.copy()
    shape[[78, 308], 0] *= width
    assert mouth_scale(shape) == pytest.approx(scale, rel=0.03)


def test_proportions_by_hand() -> None:
    shape = np.zeros((478, 3), np.float32)
    shape[61], shape[291] = (-3, 0, 0), (3, 0, 0)
    shape[0], shape[13] = (0, -2, 0), (0, -1, 0)
    shape[14], shape[17] = (0, 1, 0), (0, 2.5, 0)
    shape[152] = (0, 2.5, 4)
    np.testing.assert_allclose(proportions(shape), [6, 1, 1.5, 4])


def test_closure_is_zero_for_usual_eyes_and_one_for_closed_ones(basis: MotionBasis) -> None:
    blink = np.zeros(40, np.float32)
    blink[10:13] = 0.5, 1.0, 0.5
    fitted = fit_blink(MEAN_FACE, basis)
    shapes = MEAN_FACE + fitted.deform(np.zeros((40, 4), np.float32), blink)
    closure = eye_closure(shapes)
    np.testing.assert_allclose(closure, blink, atol=0.25)  # closed lids still differ in depth
    assert closure[11] > 0.75


@pytest.mark.parametrize("height", [0.6, 1.0, 1.4])
def test_a_blink_brings_all_of_the_lids_together(basis: MotionBasis, height: float) -> None:
    shape = MEAN_FACE * np.array([1, height, 1], np.float32)
    blink = fit_blink(shape, basis)
    closed = shape + blink.deform(np.zeros((1, 4), np.float32), np.ones(1, np.float32))[0]
    for ring in (RIGHT_EYE, LEFT_EYE):
        np.testing.assert_allclose(closed[ring[1:8], 1], closed[ring[:8:-1], 1], atol=1e-5)
    assert np.abs(closed - shape).max() < 0.3


def test_lips_and_chin_are_speech_s_and_the_rest_of_the_face_is_not(basis: MotionBasis) -> None:
    weight = spoken_region(basis)
    assert weight[[*UPPER_INNER_LIP, *LOWER_INNER_LIP, 152]].min() == 1
    assert not weight[[10, *RIGHT_EYE, *LEFT_EYE, 468, 473]].any()
    none = MotionBasis(np.zeros_like(basis.components), basis.blink)
    assert not spoken_region(none).any()


def test_a_blink_that_is_fitted_leaves_speech_as_it_is(basis: MotionBasis) -> None:
    assert fit_blink(MEAN_FACE, basis).components is basis.components


def test_a_basis_without_a_blink_still_closes_the_eyes(basis: MotionBasis) -> None:
    none = MotionBasis(basis.components, np.zeros_like(basis.blink))
    blink = fit_blink(MEAN_FACE, none).blink
    assert np.isfinite(blink).all()
    assert blink[159, 1] > 0.05


def test_a_fitted_basis_spans_the_motion_it_was_fitted_on(basis: MotionBasis) -> None:
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=(300, 3)).astype(np.float32)
    closures = rng.uniform(0, 1, 300).astype(np.float32)
    weight = speech_region()[:, None]
    known = MotionBasis(basis.components[:3] * weight, basis.blink * lid_region()[:, None])
    deformations = known.deform(coefficients, np.zeros(300, np.float32))
    lids = closures[:, None, None] * known.blink
    fitted = fit_motion_basis(deformations, closures, lids, num_components=3)
    found = fitted.project(deformations)
    again = fitted.deform(found, np.zeros(300, np.float32))
    assert np.abs(again - deformations * weight).max() < 0.02 * np.abs(deformations).max()
    np.testing.assert_allclose(np.square(found).mean(0), 1, rtol=0.05)  # one standard deviation
    shared = lid_region()[:, None]
    np.testing.assert_allclose(fitted.blink, known.blink * shared, atol=1e-3)


def test_the_first_component_of_a_fitted_basis_carries_the_most_motion(
    basis: MotionBasis,
) -> None:
    rng = np.random.default_rng(4)
    coefficients = (rng.normal(size=(300, 4)) * [1, 1, 1, 1]).astype(np.float32)
    deformations = basis.deform(coefficients, np.zeros(300, np.float32))
    closures = rng.uniform(0, 1, 300).astype(np.float32)
    fitted = fit_motion_basis(deformations, closures, np.zeros_like(deformations), 3)
    size = np.square(fitted.components * np.array([1, 1, 0.3], np.float32)).sum((1, 2))
    assert (np.diff(size) < 0).all()


def test_the_eyebrows_take_the_forehead_along_but_not_eyes_or_mouth() -> None:
    weight = brow_region()
    assert weight.shape == (478,)
    assert weight[[*RIGHT_BROW[1:5], *LEFT_BROW[1:5]]].min() > 0.9
    assert not weight[[10, 13, 14, 152, 168, 1]].any()
    assert weight[[159, 386, 145, 374, 33, 263]].max() < 0.05
    assert not weight[468:].any()
    np.testing.assert_allclose(weight[MIRROR], weight, atol=1e-5)
