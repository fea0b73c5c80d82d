import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import find_peaks

from talkhead.audio2landmarks.idle_motion import (
    MAX_BROW_RAISE,
    MAX_SHIFT,
    MAX_TURN_RAD,
    STILL_SHARE,
    HeadStyle,
    natural_head_motion,
)
from talkhead.audio2landmarks.idle_stream import IdleFrames, IdleStream

Floats = npt.NDArray[np.float32]
RATE_HZ = 25.0
SPREAD = np.array([0.05, 0.07, 0.06, 0.08, 0.04], np.float32)
STYLE = HeadStyle(np.diag(SPREAD), np.diag(SPREAD) / 2, slow_s=0.7, fast_s=0.12, pause=0.5)


def speech(seconds: float) -> Floats:
    """Loudness of a voice that alternates two seconds of speech and one of pause."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s)
    return np.asarray(syllables * (time_s % 3 < 2), np.float32)


def idle(activity: Floats, seed: int = 0, **options: float) -> IdleFrames:
    return IdleStream(STYLE, RATE_HZ, seed, **options).next(activity)


def test_frames_do_not_depend_on_how_they_are_asked_for() -> None:
    activity = speech(20)
    whole = idle(activity)
    stream = IdleStream(STYLE, RATE_HZ, 0)
    parts = [stream.next(part) for part in np.split(activity, [1, 1, 40, 333])]
    heads = np.concatenate([part.head.angles_rad for part in parts])
    np.testing.assert_array_equal(heads, whole.head.angles_rad)
    np.testing.assert_array_equal(np.concatenate([part.blinks for part in parts]), whole.blinks)
    np.testing.assert_array_equal(np.concatenate([part.brows for part in parts]), whole.brows)


def test_the_seed_chooses_the_motion() -> None:
    one, again, other = idle(speech(10), 1), idle(speech(10), 1), idle(speech(10), 2)
    np.testing.assert_array_equal(one.head.angles_rad, again.head.angles_rad)
    assert np.abs(one.head.angles_rad - other.head.angles_rad).max() > 0.01
    assert not np.array_equal(one.blinks, other.blinks)


def test_the_head_moves_as_in_a_whole_recording() -> None:
    activity = speech(600)
    made = idle(activity).head
    expected = natural_head_motion(STYLE, activity, RATE_HZ, np.random.default_rng(0))
    np.testing.assert_allclose(made.angles_rad.std(0), expected.angles_rad.std(0), rtol=0.2)
    np.testing.assert_allclose(made.shift.std(0), expected.shift.std(0), rtol=0.2)
    speed, usual = (np.abs(np.diff(head.angles_rad, axis=0)).mean() for head in (made, expected))
    assert speed == pytest.approx(usual, rel=0.2)
    assert made.angles_rad.std(0) == pytest.approx(STILL_SHARE * SPREAD[:3], rel=0.4)
    assert np.abs(made.angles_rad).max() <= MAX_TURN_RAD
    assert np.abs(made.shift).max() <= MAX_SHIFT


def test_motion_grows_from_the_picture_and_never_jumps() -> None:
    head = idle(speech(60)).head
    assert not head.angles_rad[0].any()
    steps = np.abs(np.diff(head.angles_rad, axis=0))
    assert steps.max() < 0.03


def test_a_head_in_long_silence_rests_and_stirs() -> None:
    silent = idle(np.zeros(5000, np.float32)).head.angles_rad
    spoken = idle(speech(200)).head.angles_rad
    speed = np.abs(np.diff(silent[500:], axis=0)).sum(1)
    assert 0 < speed.mean() < 0.3 * np.abs(np.diff(spoken, axis=0)).sum(1).mean()
    assert (speed == 0).mean() > 0.5


def test_blinks_come_at_their_rate_and_close_the_eyes() -> None:
    blinks = idle(speech(1200)).blinks
    peaks, _ = find_peaks(blinks, height=0.7)
    assert len(peaks) == pytest.approx(16 * 20, rel=0.2)
    assert (blinks.min(), blinks.max() <= 1) == (0, True)
    assert np.diff(peaks).min() > 0.4 * RATE_HZ


def test_blinks_prefer_pauses() -> None:
    activity = speech(1200)
    peaks, _ = find_peaks(idle(activity).blinks, height=0.7)
    in_pause = (peaks / RATE_HZ % 3 > 2).mean()
    assert in_pause > 0.4  # a third of the time is pause


def test_no_blinks_and_no_head_motion_can_be_asked_for() -> None:
    frames = idle(speech(60), strength=0, blink_per_minute=0)
    assert not frames.blinks.any()
    assert not frames.head.angles_rad.any()


def test_emphasis_raises_the_brows_a_little() -> None:
    activity = np.full(500, 0.3, np.float32)
    activity[250:260] = 1
    brows = idle(activity).brows
    assert brows[200:250].max() < 0.05 * MAX_BROW_RAISE
    assert 0.2 * MAX_BROW_RAISE < brows[250:280].max() <= MAX_BROW_RAISE
    assert brows[400:].max() < 0.05 * MAX_BROW_RAISE
