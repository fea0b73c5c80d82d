import numpy as np
import numpy.typing as npt
import pytest

from talkhead.evaluation.landmark_metrics import (
    closures_found,
    head_motion,
    inner_opening,
    landmark_distance,
    landmark_values,
    landmark_velocity_distance,
    lip_motion,
    moving_frames,
    num_blinks,
    quiet_frames,
)
from talkhead.geometry.mesh import LEFT_EYE_CORNER, mouth_opening
from tests.meshes import floats, hand_made_basis, mean_mesh, opened

Floats = npt.NDArray[np.float32]


def still(count: int, width_px: float = 100.0) -> Floats:
    return np.repeat(mean_mesh(width_px, 128, 128)[None], count, 0)


def test_the_landmark_distance_by_hand() -> None:
    truth = np.zeros((2, 3, 3), np.float32)
    generated = truth.copy()
    generated[0, 0] = (3, 4, 100)  # 5 px in the plane; depth does not count
    generated[1] = (0, 1, 0)
    # Frame 0: (5 + 0 + 0) / 3, frame 1: 1.
    assert landmark_distance(generated, truth) == pytest.approx((5 / 3 + 1) / 2)


def test_the_velocity_distance_is_blind_to_a_constant_offset() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(9, 4, 2)).astype(np.float32)
    assert landmark_velocity_distance(truth + 7, truth) == pytest.approx(0, abs=1e-5)
    generated = truth.copy()
    generated[3:] += np.array([3, 4], np.float32)  # one jump of 5 px among eight steps
    assert landmark_velocity_distance(generated, truth) == pytest.approx(5 / 8, rel=1e-5)


def test_frames_and_points_may_come_in_any_order() -> None:
    rng = np.random.default_rng(1)
    generated, truth = rng.normal(size=(2, 12, 68, 2)).astype(np.float32)
    frames, points = rng.permutation(12), rng.permutation(68)
    expected = landmark_distance(generated, truth)
    assert landmark_distance(generated[frames], truth[frames]) == pytest.approx(expected, rel=1e-6)
    assert landmark_distance(generated[:, points], truth[:, points]) == pytest.approx(
        expected, rel=1e-6
    )


def test_the_opening_is_in_eye_distances() -> None:
    for width in (50.0, 200.0):
        points = np.stack([mean_mesh(width), opened(mean_mesh(width), 0.1 * width)])
        gap = np.diff(inner_opening(points))[0]
        assert gap == pytest.approx(0.1, abs=0.01)
        assert gap == pytest.approx(np.diff(mouth_opening(points))[0], abs=0.02)


def test_the_width_is_compared_without_the_trembling_of_the_eye_corners() -> None:
    rng = np.random.default_rng(3)
    wide = np.zeros((80, len(hand_made_basis().components)), np.float32)
    wide[:, 2] = 0.1 * np.sin(np.arange(80) / 3)
    speech = hand_made_basis().deform(wide, np.zeros(80, np.float32))
    generated = 100 * (mean_mesh(1) + speech)
    truth = generated.copy()
    truth[:, LEFT_EYE_CORNER, 0] += rng.normal(0, 1, 80)
    quiet = np.zeros(80, np.bool_)
    assert landmark_values(generated, truth, [], quiet, 25.0)["width_r"] > 0.95


def test_closures_are_looked_for_around_their_moments() -> None:
    opening = np.full(50, 0.1, np.float32)
    opening[20] = 0.0  # 0.8 s
    opening[40] = 0.02  # not closed
    moments = [(0.8, 0.84), (0.72, 0.74), (0.4, 0.5), (1.6, 1.64)]
    found = closures_found(opening, moments, 25.0)
    np.testing.assert_array_equal(found, [True, True, False, False])
    assert closures_found(opening, [], 25.0).shape == (0,)


def test_silence_is_what_stays_far_below_the_loudest() -> None:
    level = np.full(60, -20.0, np.float32)
    level[20:40] = -90
    quiet = quiet_frames(level)
    assert quiet[25:35].all()
    assert not quiet[:20].any()
    assert not quiet[42:].any()
    short = np.full(60, -20.0, np.float32)
    short[20:23] = -90  # between two words
    assert not quiet_frames(short).any()


def test_lips_that_move_with_the_head_do_not_move() -> None:
    points = still(10)
    points += np.arange(10, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(lip_motion(points), 0, atol=1e-5)
    talking = still(2)
    talking[1] = opened(talking[1], 10)
    assert lip_motion(talking)[0] > 0.01


def test_head_motion_is_the_spread_of_its_place_in_eye_distances() -> None:
    points = still(4)
    points[:, :, 0] += np.array([10, -10, 10, -10], np.float32)[:, None]
    assert head_motion(points) == pytest.approx(0.1, rel=1e-4)
    assert head_motion(still(4)) == 0


def test_every_closing_of_the_eyes_is_a_blink() -> None:
    points = still(50)
    blink = hand_made_basis().blink * 100
    for start in (10, 30):
        points[start : start + 4] += blink
    points[40] += 0.3 * blink  # half-closed
    assert num_blinks(points) == 2
    assert num_blinks(still(5)) == 0


def test_the_mouth_moves_around_a_change_of_its_opening() -> None:
    opening = np.repeat(floats([0.0, 0.05]), 10)  # it opens between the frames 9 and 10
    # At 25 fps, 0.2 s are two frames on each side: those windows of 8 to 11 span the change.
    assert np.flatnonzero(moving_frames(opening, 25.0)).tolist() == [8, 9, 10, 11]
    assert np.flatnonzero(moving_frames(opening, 50.0)).tolist() == list(range(5, 15))
    assert not moving_frames(opening * floats(0.39), 25.0).any()  # 0.0195
    assert moving_frames(opening * floats(0.41), 25.0).sum() == 4  # 0.0205
    opening[9] = np.nan  # without a face, neither that frame nor its opening counts
    assert np.flatnonzero(moving_frames(opening, 25.0)).tolist() == [8, 10]
    assert not moving_frames(np.full(5, np.nan, np.float32), 25.0).any()
