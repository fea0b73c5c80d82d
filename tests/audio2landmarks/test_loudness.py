import numpy as np
import numpy.typing as npt
import pytest

from talkhead.audio2landmarks.loudness import (
    SPEECH_LEVEL_DB,
    frame_levels,
    loudest_level,
    loudness_of_voice,
    quiet_speech_raise,
    speech_gain,
)
from talkhead.media.rates import SAMPLE_RATE_HZ
from tests.tiny import voice

Floats = npt.NDArray[np.float32]
FPS = 25


def levels(waveform: Floats) -> Floats:
    return frame_levels(waveform, len(waveform) * FPS // SAMPLE_RATE_HZ, FPS)


def room(seconds: float, level_db: float | None, seed: int = 0) -> Floats:
    """Return noise at a given level, or digital silence."""
    count = round(seconds * SAMPLE_RATE_HZ)
    scale = 0.0 if level_db is None else 10 ** (level_db / 20)
    return np.asarray(scale * np.random.default_rng(seed).normal(size=count), np.float32)


def within(sound: Floats, part: Floats, at_s: float) -> Floats:
    mixed = sound.copy()
    start = round(at_s * SAMPLE_RATE_HZ)
    mixed[start : start + len(part)] += part
    return mixed


def slam() -> Floats:
    """Return a door slam: half a second of decaying sound from full scale."""
    time_s = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(3).uniform(-1, 1, len(time_s))
    return np.asarray(noise * np.exp(-time_s / 0.12), np.float32)


def ticks(seconds: float, loudness: float) -> Floats:
    """Return a ticking clock: a click of 10 ms every second."""
    sound = room(seconds, None)
    time_s = np.arange(160) / SAMPLE_RATE_HZ
    click = loudness * np.sin(2 * np.pi * 2500 * time_s) * np.exp(-time_s / 0.002)
    for second in range(int(seconds)):
        sound = within(sound, click.astype(np.float32), second + 0.39)
    return sound


@pytest.mark.parametrize("level_db", [None, -75.0, -60.0, -45.0])
@pytest.mark.parametrize("seconds", [70, 600])
def test_a_sentence_is_as_loud_alone_as_in_a_long_quiet_recording(
    seconds: int, level_db: float | None
) -> None:
    alone = levels(voice(2.0))
    rare = levels(within(room(seconds, level_db), voice(2.0), 30))
    assert loudest_level(rare) == pytest.approx(loudest_level(alone), abs=1.5)
    assert speech_gain(rare) == pytest.approx(speech_gain(alone), rel=0.15)
    assert loudness_of_voice(rare)[30 * FPS : 32 * FPS].max() > 0.95


def test_speech_is_measured_as_it_is_where_pauses_are_ordinary() -> None:
    spoken = levels(np.concatenate([voice(4.0), room(3.0, -80)]))
    assert loudest_level(spoken) == pytest.approx(np.percentile(spoken, 95), abs=1e-6)


def test_speech_comes_to_its_level() -> None:
    for level_db in (None, -85.0):
        waveform = within(room(60, level_db), 0.05 * voice(3.0), 20)
        spoken = levels(waveform * speech_gain(levels(waveform)))[20 * FPS : 23 * FPS]
        loud = spoken[spoken > spoken.max() - 30]
        assert 10 * np.log10(np.mean(10 ** (loud / 10))) == pytest.approx(SPEECH_LEVEL_DB, abs=1)


@pytest.mark.parametrize("noise", ["door", "clock"])
def test_a_door_or_a_clock_is_not_the_loudest_speech(noise: str) -> None:
    quiet = 0.1 * voice(2.0)
    alone = levels(within(room(120, -75), quiet, 60))
    disturbance = within(room(120, None), slam(), 20) if noise == "door" else ticks(120, 0.9)
    disturbed = levels(within(room(120, -75), quiet, 60) + disturbance)
    assert disturbed.max() > alone.max() + 3
    assert loudest_level(disturbed) == pytest.approx(loudest_level(alone), abs=2)


def test_a_single_word_counts_where_there_is_no_sentence() -> None:
    word = levels(within(room(60, -75), voice(0.5), 30))
    assert loudest_level(word) == pytest.approx(loudest_level(levels(voice(0.5))), abs=3)


@pytest.mark.parametrize("level_db", [None, -75.0])
def test_silence_has_no_gain(level_db: float | None) -> None:
    assert speech_gain(levels(room(10, level_db))) == 0
    assert speech_gain(levels(ticks(10, 0.3) + room(10, level_db))) == 0
    assert speech_gain(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize(("quieter_db", "raised_db"), [(0, 0), (8, 0), (20, 8), (25, 13), (40, 0)])
def test_a_sentence_that_is_much_quieter_is_raised_but_what_is_hardly_heard_is_not(
    quieter_db: float, raised_db: float
) -> None:
    loud, quiet = voice(3.0), np.float32(10 ** (-quieter_db / 20)) * voice(3.0)
    raised = quiet_speech_raise(levels(within(within(room(20, -90), loud, 2), quiet, 12)))
    assert raised.shape == (20 * FPS,)
    np.testing.assert_allclose(raised[13 * FPS : 14 * FPS], raised_db, atol=2.5 * (raised_db > 0))
    assert not raised[: 11 * FPS].any()
    assert not raised[16 * FPS :].any()
