from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import find_peaks

from talkhead.audio2landmarks.idle_motion import (
    EYEBALL_RADIUS,
    MAX_BROW_RAISE,
    MAX_SHIFT,
    MAX_TURN_RAD,
    PIVOT,
    STILL_SHARE,
    HeadMotion,
    HeadStyle,
    followed_head_motion,
    natural_blinks,
    natural_brows,
    natural_head_motion,
)
from talkhead.geometry.mesh import MEAN_FACE
from talkhead.geometry.pose import HeadPose, rotation_from_angles
from talkhead.tracking.landmark_track import LandmarkTrack

Floats = npt.NDArray[np.float32]
FPS = 25.0
SPREAD = np.array([0.05, 0.07, 0.06, 0.08, 0.04], np.float32)
"""Spread of pitch, yaw, roll (radians) and both shifts (eye distances), for slow and fast."""
STYLE = HeadStyle(np.diag(SPREAD), np.diag(SPREAD) / 2, slow_s=0.7, fast_s=0.12, pause=0.5)


def speech(seconds: float, fps: float = FPS) -> Floats:
    """Loudness of a voice that alternates two seconds of speech and one of pause."""
    time_s = np.arange(round(seconds * fps)) / fps
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s)
    return np.asarray(syllables * (time_s % 3 < 2), np.float32)


def silence(count: int) -> Floats:
    return np.zeros(count, np.float32)


def motion(seed: int, seconds: float = 10, fps: float = FPS, strength: float = 1.0) -> HeadMotion:
    rng = np.random.default_rng(seed)
    return natural_head_motion(STYLE, speech(seconds, fps), fps, rng, strength)


def test_the_same_seed_moves_the_head_the_same_way_and_another_one_does_not() -> None:
    one, again, other = motion(1), motion(1), motion(2)
    np.testing.assert_array_equal(one.angles_rad, again.angles_rad)
    np.testing.assert_array_equal(one.shift, again.shift)
    assert np.abs(one.angles_rad - other.angles_rad).max() > 0.01


def test_the_first_frame_is_the_picture_itself_and_motion_grows_from_there() -> None:
    made = motion(3)
    assert not made.angles_rad[0].any()
    assert not made.shift[0].any()
    assert np.abs(made.angles_rad[1]).max() < 0.1 * np.abs(made.angles_rad).max()


def test_no_strength_means_no_motion_and_double_strength_double() -> None:
    none = motion(4, strength=0.0)
    assert not none.angles_rad.any()
    assert not none.shift.any()
    single, double = motion(4, strength=0.1), motion(4, strength=0.2)
    np.testing.assert_allclose(double.angles_rad, 2 * single.angles_rad, rtol=0.01, atol=1e-6)
    np.testing.assert_allclose(double.shift, 2 * single.shift, rtol=0.01, atol=1e-6)


def test_even_a_wild_head_stays_within_what_a_picture_shows() -> None:
    wild = motion(4, strength=50.0)
    assert np.abs(wild.angles_rad).max() <= MAX_TURN_RAD * 1.0001
    assert np.abs(wild.shift).max() <= MAX_SHIFT * 1.0001


def test_a_head_moves_by_a_few_degrees_and_not_in_jumps() -> None:
    made = motion(5, seconds=120)
    spread = made.angles_rad.std(0)
    expected = STILL_SHARE * SPREAD[:3]
    assert (spread > 0.7 * expected).all()
    assert (spread < 1.4 * expected).all()
    assert np.degrees(np.abs(made.angles_rad).max()) < 15
    per_frame = np.degrees(np.abs(np.diff(made.angles_rad, axis=0)).max())
    assert per_frame < 1.5
    assert np.abs(np.diff(made.shift, axis=0)).max() < 0.02


def test_a_speaking_head_moves_more_than_a_silent_one() -> None:
    count = 3000
    silent = natural_head_motion(STYLE, np.zeros(count, np.float32), FPS, np.random.default_rng(6))
    talking = natural_head_motion(STYLE, np.ones(count, np.float32), FPS, np.random.default_rng(6))
    speed = [np.diff(made.angles_rad, axis=0).std() for made in (silent, talking)]
    assert speed[1] > 1.5 * speed[0] > 0


def test_a_head_slows_down_in_long_silence_and_not_in_a_pause_between_sentences() -> None:
    rng = np.random.default_rng
    second = round(FPS)
    voice = np.ones(60 * second, np.float32)
    voice[20 * second : 40 * second] = 0
    paused = np.ones(60 * second, np.float32)
    paused[30 * second : 30 * second + second // 2] = 0

    def speed(activity: Floats) -> Floats:
        slow = HeadStyle(STYLE.slow, 0 * STYLE.fast, 0.7, 0.12, 0.5)
        runs = [natural_head_motion(slow, activity, FPS, rng(seed)).angles_rad for seed in range(8)]
        return np.asarray(np.abs(np.diff(np.stack(runs), axis=1)).mean((0, 2)))

    silent = speed(voice)
    assert silent[25 * second : 35 * second].mean() < 0.45 * silent[: 15 * second].mean()
    middle = slice(29 * second, 32 * second)
    assert speed(paused)[middle].mean() > 0.8 * speed(np.ones_like(voice))[middle].mean()


def test_a_head_that_listens_rests_most_of_the_time_and_stirs_every_few_seconds() -> None:
    count = round(600 * FPS)
    voice = np.zeros(count, np.float32)
    voice[: round(10 * FPS)] = 1
    made = natural_head_motion(STYLE, voice, FPS, np.random.default_rng(7))
    turn = np.abs(np.diff(made.angles_rad[round(15 * FPS) :], axis=0)).max(1)
    rests = turn == 0  # bit-exact: what does not move must not jitter in a video
    assert 0.75 < rests.mean() < 0.95
    begins = np.flatnonzero(rests[:-1] & ~rests[1:])
    assert 5 < len(begins) / (len(turn) / FPS / 60) < 40  # per minute
    assert np.diff(begins).max() < 30 * FPS
    assert turn.max() < np.abs(np.diff(made.angles_rad[: round(10 * FPS)], axis=0)).max()


def test_eyes_turn_against_the_head_to_stay_on_the_viewer() -> None:
    angles = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 0, 0.2]], np.float32)
    made = HeadMotion(angles, np.zeros((4, 3), np.float32))
    gaze = made.gaze()
    ball = np.array([0, 0, -EYEBALL_RADIUS], np.float32)
    seen = (ball + gaze)[:, None] @ np.swapaxes(rotation_from_angles(angles), -1, -2)
    np.testing.assert_allclose(seen[:, 0], np.broadcast_to(ball, (4, 3)), atol=1e-6)
    assert np.abs(gaze[1, 1]) == pytest.approx(0.2 * EYEBALL_RADIUS, rel=0.05)
    assert np.abs(gaze[2, 0]) == pytest.approx(0.2 * EYEBALL_RADIUS, rel=0.05)
    np.testing.assert_allclose(gaze[[0, 3]], 0, atol=1e-7)


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_motion_is_as_fast_at_every_frame_rate(fps: float) -> None:
    made = motion(7, seconds=200, fps=fps)
    speed = np.abs(np.diff(made.angles_rad[:, 1])).mean() * fps
    reference = motion(8, seconds=200)
    assert speed == pytest.approx(np.abs(np.diff(reference.angles_rad[:, 1])).mean() * FPS, rel=0.3)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_short_clips_are_finite(count: int) -> None:
    made = natural_head_motion(STYLE, np.ones(count, np.float32), FPS, np.random.default_rng(0))
    assert made.angles_rad.shape == made.shift.shape == (count, 3)
    assert np.isfinite(made.angles_rad).all()
    assert natural_blinks(np.ones(count, np.float32), FPS, np.random.default_rng(0)).shape == (
        count,
    )


def test_turning_keeps_the_shape_and_the_pivot() -> None:
    made = motion(9)
    points = np.repeat(np.concatenate([MEAN_FACE, PIVOT[None]])[None], len(made.shift), 0)
    moved = made.apply(points)
    assert moved.dtype == np.float32
    sides = np.linalg.norm(moved[:, 33] - moved[:, 152], axis=-1)
    np.testing.assert_allclose(sides, np.linalg.norm(MEAN_FACE[33] - MEAN_FACE[152]), rtol=1e-4)
    np.testing.assert_allclose(moved[:, -1], PIVOT + made.shift, atol=1e-5)


def test_no_motion_leaves_the_points_alone() -> None:
    still = HeadMotion(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    points = np.repeat(MEAN_FACE[None], 2, 0)
    np.testing.assert_allclose(still.apply(points), points, atol=1e-6)


def test_positive_yaw_and_pitch_by_hand() -> None:
    def nose_after(angles: list[float]) -> Floats:
        made = HeadMotion(np.array([angles], np.float32), np.zeros((1, 3), np.float32))
        return np.asarray(made.apply(MEAN_FACE[None])[0, 4] - MEAN_FACE[4])

    # The tip of the nose is in front of the pivot (z is smaller) and above it (y is smaller).
    assert nose_after([0, 0.1, 0])[0] < 0  # R_y moves z into x: -z sin
    assert nose_after([0.1, 0, 0])[1] > 0  # a nod goes down
    assert nose_after([0, 0, 0.1])[0] > 0  # points above the pivot tilt to the picture's right


def test_a_part_of_the_motion_is_a_slice() -> None:
    made = motion(10)
    part = made.part(40, 48)
    np.testing.assert_array_equal(part.angles_rad, made.angles_rad[40:48])
    np.testing.assert_array_equal(part.shift, made.shift[40:48])


def peaks_of(closure: Floats) -> Floats:
    padded = np.concatenate([[0], closure, [0]])
    places, _ = find_peaks(padded, height=0.2, plateau_size=1)
    return np.asarray(padded[places], np.float32)


@pytest.mark.parametrize("per_minute", [8.0, 16.0, 30.0])
@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_blinks_come_about_as_often_as_asked_for(per_minute: float, fps: float) -> None:
    minutes = 20
    closure = natural_blinks(
        silence(round(minutes * 60 * fps)), fps, np.random.default_rng(0), per_minute
    )
    count = len(peaks_of(closure))
    assert count == pytest.approx(minutes * per_minute, rel=0.15)


def test_every_blink_closes_the_eyes_and_opens_them_again() -> None:
    closure = natural_blinks(silence(30_000), FPS, np.random.default_rng(1))
    peaks = peaks_of(closure)[:-1]  # the last one may be cut off
    assert len(peaks) > 200
    assert peaks.min() > 0.85
    assert np.median(peaks) > 0.98
    assert closure.max() <= 1
    assert closure.min() == 0
    assert np.mean(closure > 0) < 0.15


def test_blinks_last_a_fraction_of_a_second_and_close_faster_than_they_open() -> None:
    fps = 200.0
    closure = natural_blinks(silence(120_000), fps, np.random.default_rng(2))
    edges = np.diff((closure > 0).astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    length_s = (ends[:100] - starts[:100]) / fps
    assert length_s.min() > 0.15
    assert length_s.max() < 0.5
    rising, falling = (np.diff(closure) > 0).sum(), (np.diff(closure) < 0).sum()
    assert falling > 1.2 * rising


def test_blinks_prefer_the_pauses_of_the_voice() -> None:
    voice = speech(1200)
    long_pause = np.arange(len(voice)) / FPS % 3 >= 2  # a third of the time
    closure = natural_blinks(voice, FPS, np.random.default_rng(5))
    starts = np.flatnonzero((closure[1:] > 0) & (closure[:-1] == 0)) + 1
    assert np.mean(long_pause[starts]) > 0.45
    loud = natural_blinks(np.ones(len(voice), np.float32), FPS, np.random.default_rng(5))
    without = np.flatnonzero((loud[1:] > 0) & (loud[:-1] == 0)) + 1
    assert np.mean(long_pause[without]) == pytest.approx(1 / 3, abs=0.1)


def test_blinks_are_seeded_and_can_be_turned_off() -> None:
    one = natural_blinks(silence(1000), FPS, np.random.default_rng(3))
    np.testing.assert_array_equal(one, natural_blinks(silence(1000), FPS, np.random.default_rng(3)))
    assert (one != natural_blinks(silence(1000), FPS, np.random.default_rng(4))).any()
    assert not natural_blinks(silence(1000), FPS, np.random.default_rng(3), per_minute=0).any()


def test_eyes_are_open_in_the_first_frame() -> None:
    for seed in range(20):
        assert natural_blinks(silence(50), FPS, np.random.default_rng(seed))[0] == 0


def turning_track(moved: HeadMotion, fps: int = 25) -> LandmarkTrack:
    """A face of another size, position and pose, whose head moves as given."""
    count = len(moved.angles_rad)
    leaning = rotation_from_angles(np.array([0.1, -0.2, 0.05], np.float32))
    pose = HeadPose(
        np.full(count, 61, np.float32),
        np.repeat(leaning[None], count, 0),
        np.tile(np.array([300, 200, 0], np.float32), (count, 1)),
    )
    points = pose.to_picture(moved.apply(np.repeat(MEAN_FACE[None], count, 0)))
    return LandmarkTrack(points, Fraction(fps), (640, 480), "drawn")


def slow_turn(count: int, size: float = 0.08) -> HeadMotion:
    """Return head motion that turns, nods, tilts and shifts from the start, at different rates."""
    time = np.arange(count)[:, None] / 25
    angles = size * np.sin(time * [1.1, 0.9, 0.7])
    shift = np.concatenate([0.3 * size * np.sin(time * [0.8, 1.2]), np.zeros((count, 1))], 1)
    return HeadMotion(angles.astype(np.float32), shift.astype(np.float32))


def test_eyebrows_rise_with_emphasis_and_rest_in_silence() -> None:
    activity = np.zeros(250, np.float32)
    activity[50:200] = 0.4
    activity[100:110] = 1.0
    raised = natural_brows(activity, FPS)
    assert raised.argmax() in range(98, 112)
    assert 0.5 * MAX_BROW_RAISE < raised.max() <= MAX_BROW_RAISE
    assert raised[:30].max() < 1e-4
    assert raised.min() >= 0
    assert np.abs(np.diff(raised)).max() < 0.35 * MAX_BROW_RAISE


def test_the_motion_of_another_head_is_taken_over() -> None:
    truth = slow_turn(100)
    made = followed_head_motion(turning_track(truth), 25.0, 100)
    np.testing.assert_allclose(made.angles_rad, truth.angles_rad, atol=0.012)
    np.testing.assert_allclose(made.shift, truth.shift, atol=0.012)
    half = followed_head_motion(turning_track(truth), 25.0, 100, strength=0.5)
    np.testing.assert_allclose(half.angles_rad, 0.5 * truth.angles_rad, atol=0.006)
    still = followed_head_motion(turning_track(truth), 25.0, 100, strength=0.0)
    assert not still.angles_rad.any()
    assert not still.shift.any()


def test_a_short_track_is_followed_forth_and_back_at_any_rate() -> None:
    track = turning_track(slow_turn(51), fps=50)
    every = followed_head_motion(track, 50.0, 202).angles_rad
    np.testing.assert_allclose(every[50:101], every[50::-1], atol=1e-6)
    np.testing.assert_allclose(every[100:151], every[:51], atol=1e-6)
    made = followed_head_motion(track, 25.0, 101).angles_rad
    # Each frame lasts as long as two of the others; its middle is between theirs.
    np.testing.assert_allclose(made, (every[::2] + every[1::2]) / 2, atol=1e-6)
    assert np.abs(np.diff(made, axis=0)).max() < 0.02
    one = followed_head_motion(turning_track(slow_turn(1)), 25.0, 5)
    assert not one.angles_rad.any()


def test_wild_motion_is_bent_to_what_a_picture_can_show() -> None:
    made = followed_head_motion(turning_track(slow_turn(200, size=0.9)), 25.0, 200)
    assert 0.9 * MAX_TURN_RAD < np.abs(made.angles_rad).max() <= MAX_TURN_RAD
    assert np.abs(made.shift).max() <= MAX_SHIFT
    assert np.isfinite(made.angles_rad).all()
