import numpy as np
import numpy.typing as npt
import pytest

from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.training import voices
from talkhead.training.voices import GAP_S, SPEECH_RMS, disturb, drop_moments, not_speech
from tests.tiny import voice

COUNT = 2 * SAMPLE_RATE_HZ
KINDS = ("_melody", "_drums", "_breath", "_hum", "_noise")


def test_sound_that_is_no_speech_is_as_loud_as_speech_and_always_another() -> None:
    sounds = [not_speech(COUNT, np.random.default_rng(seed)) for seed in range(12)]
    for sound in sounds:
        assert sound.shape == (COUNT,)
        assert sound.dtype == np.float32
        assert np.sqrt(np.square(sound).mean()) == pytest.approx(SPEECH_RMS, rel=1e-3)
    assert np.abs(np.corrcoef(sounds) - np.eye(12)).max() < 0.5
    again = not_speech(COUNT, np.random.default_rng(3))
    np.testing.assert_array_equal(again, sounds[3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [400, 12_345])
def test_every_kind_of_sound_is_finite_at_any_length(kind: str, count: int) -> None:
    for seed in range(5):
        sound = getattr(voices, kind)(count, np.random.default_rng(seed))
        assert sound.shape == (count,)
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() > 0


def test_a_melody_has_a_pitch_and_noise_has_none() -> None:
    def flatness(sound: npt.NDArray[np.float64]) -> float:
        power = np.square(np.abs(np.fft.rfft(sound))) + 1e-12
        return float(np.exp(np.log(power).mean()) / power.mean())

    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert flatness(voices._melody(COUNT, rng)) < 0.01
        assert flatness(voices._hum(COUNT, rng)) < 0.01


def test_dropped_moments_are_short_and_leave_the_rest_as_it_was() -> None:
    waveform = np.ones(COUNT, np.float32)
    for seed in range(20):
        dropped = drop_moments(waveform, np.random.default_rng(seed))
        assert set(np.unique(dropped)) == {0, 1}
        silent = int((dropped == 0).sum())
        assert int(GAP_S[0] * SAMPLE_RATE_HZ) <= silent <= 4 * GAP_S[1] * SAMPLE_RATE_HZ
    assert (waveform == 1).all()
    assert len(drop_moments(waveform[:100], np.random.default_rng(0))) == 100


def test_disturbed_speech_is_still_there() -> None:
    waveform = voice(2.0)
    closeness = []
    for seed in range(20):
        disturbed = disturb(waveform, np.random.default_rng(seed))
        assert disturbed.shape == waveform.shape
        assert np.isfinite(disturbed).all()
        closeness.append(abs(np.corrcoef(disturbed, waveform)[0, 1]))
    assert np.median(closeness) > 0.4
    assert min(closeness) < 0.95  # it was changed
