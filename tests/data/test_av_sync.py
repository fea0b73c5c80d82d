import numpy as np
import numpy.typing as npt
import pytest

from talkhead.data.av_sync import best_lag, loudness
from talkhead.geometry.mesh import mouth_opening
from talkhead.media.rates import SAMPLE_RATE_HZ
from tests.prepared import FPS, lip_motion, moving_mesh, voice

Floats = npt.NDArray[np.float32]


def random_motion(count: int, seed: int) -> Floats:
    noise = np.random.default_rng(seed).normal(size=count + 4)
    return np.convolve(noise, np.ones(5) / 5, "valid").astype(np.float32)


@pytest.mark.parametrize("lag", [-8, -3, 0, 1, 8])
def test_the_lag_is_found_with_its_sign(lag: int) -> None:
    expected = random_motion(120, seed=0)
    seen = np.roll(expected, lag)  # a late picture shows what was heard earlier
    found, agreement = best_lag(seen, expected)
    assert found == lag
    assert agreement > 0.95


def test_the_agreement_is_pearsons() -> None:
    seen, expected = random_motion(80, seed=1), random_motion(80, seed=2)
    _, agreement = best_lag(seen, expected, max_lag=0, detrend_frames=None)
    assert agreement == pytest.approx(float(np.corrcoef(seen, expected)[0, 1]), abs=1e-6)


def test_drift_does_not_pass_for_lip_motion() -> None:
    drift = np.linspace(0, 20, 200, dtype=np.float32)
    seen, expected = random_motion(200, seed=3) + drift, random_motion(200, seed=4) + drift
    assert best_lag(seen, expected, detrend_frames=None)[1] > 0.9
    assert best_lag(seen, expected)[1] < 0.5


def test_what_does_not_move_has_no_agreement() -> None:
    still = np.ones(100, np.float32)
    assert best_lag(still, random_motion(100, seed=5)) == (0, -1.0)
    assert best_lag(random_motion(8, seed=5), random_motion(8, seed=5)) == (0, -1.0)


def test_loudness_is_in_decibels_and_has_a_floor() -> None:
    seconds = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.sqrt(2) * np.sin(2 * np.pi * 200 * seconds)  # 0 dB
    waveform = np.where(seconds < 1, 0.1 * tone, 1e-6 * tone).astype(np.float32)
    level = loudness(waveform, 2 * FPS, FPS)
    assert level.shape == (2 * FPS,)
    np.testing.assert_allclose(level[:FPS], -20, atol=0.01)
    np.testing.assert_allclose(level[FPS:], -70, atol=0.01)


def test_frames_beyond_the_sound_are_silent() -> None:
    waveform = np.full(SAMPLE_RATE_HZ, 0.5, np.float32)
    level = loudness(waveform, 2 * FPS, FPS)
    np.testing.assert_allclose(level[:FPS], 20 * np.log10(0.5), atol=0.01)
    np.testing.assert_allclose(level[FPS:], level[0] - 50, atol=0.01)


def test_lips_that_move_with_a_late_voice_are_early() -> None:
    opening = lip_motion(100, seed=0)
    seen = mouth_opening(moving_mesh(opening, seed=0))
    waveform = voice(opening, seed=0)
    late = np.concatenate([np.zeros(round(3 / FPS * SAMPLE_RATE_HZ), np.float32), waveform])
    assert best_lag(seen, loudness(waveform, 100, FPS))[0] == 0
    assert best_lag(seen, loudness(late, 100, FPS))[0] == -3


def test_a_far_lag_has_to_agree_better_than_a_near_one() -> None:
    expected = random_motion(120, seed=6)
    seen = np.asarray(np.roll(expected, 8) + 0.95 * expected, np.float32)
    assert best_lag(seen, expected)[0] == 8
    lag, agreement = best_lag(seen, expected, cost=0.02)
    assert lag == 0
    assert agreement == best_lag(seen, expected, max_lag=0)[1]  # without the cost
