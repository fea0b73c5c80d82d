import numpy as np
import pytest

from talkhead.evaluation.nonspeech import (
    LOUD_ROOM_DB,
    MUSIC_DB,
    QUIET_ROOM_DB,
    SOUNDS,
    digital_silence,
    music,
    room_noise,
)
from talkhead.media.rates import SAMPLE_RATE_HZ

NUM_SAMPLES = 4 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("name", list(SOUNDS))
def test_the_same_seed_gives_the_same_sound_of_the_length_asked_for(name: str) -> None:
    sound = SOUNDS[name](NUM_SAMPLES + 7, 3)
    assert len(sound) == NUM_SAMPLES + 7
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound, SOUNDS[name](NUM_SAMPLES + 7, 3))
    assert np.abs(sound).max() <= 1


@pytest.mark.parametrize(
    ("name", "level_db"),
    [("quiet room", QUIET_ROOM_DB), ("loud room", LOUD_ROOM_DB), ("music", MUSIC_DB)],
)
def test_sounds_have_their_level_and_depend_on_the_seed(name: str, level_db: float) -> None:
    sound = SOUNDS[name](NUM_SAMPLES, 0).astype(np.float64)
    assert 10 * np.log10(np.mean(sound**2)) == pytest.approx(level_db, abs=0.1)
    assert np.abs(sound - SOUNDS[name](NUM_SAMPLES, 1)).max() > 0


def test_silence_is_zero() -> None:
    assert not digital_silence(NUM_SAMPLES).any()


def test_the_power_of_room_noise_falls_by_three_decibels_per_octave() -> None:
    power = np.square(np.abs(np.fft.rfft(room_noise(20 * SAMPLE_RATE_HZ))))
    hertz = np.fft.rfftfreq(20 * SAMPLE_RATE_HZ, 1 / SAMPLE_RATE_HZ)
    octaves = [
        10 * np.log10(power[(hertz >= low) & (hertz < 2 * low)].mean()) for low in (100, 800, 3200)
    ]
    assert octaves[0] - octaves[1] == pytest.approx(9, abs=1)
    assert octaves[1] - octaves[2] == pytest.approx(6, abs=1)


def test_music_has_a_chord_and_a_beat() -> None:
    sound = music(NUM_SAMPLES)
    first = np.abs(np.fft.rfft(sound[: round(1.2 * SAMPLE_RATE_HZ)]))
    hertz = np.fft.rfftfreq(round(1.2 * SAMPLE_RATE_HZ), 1 / SAMPLE_RATE_HZ)
    for tone_hz in (130.8, 164.8, 196.0):  # C, E and G
        near = first[np.abs(hertz - tone_hz) < 2].max()
        between = np.median(first[np.abs(hertz - tone_hz) < 15])
        assert near > 5 * between
    beats = [round(beat * 0.6 * SAMPLE_RATE_HZ) for beat in range(6)]
    attack = SAMPLE_RATE_HZ // 20
    struck = np.mean([np.square(sound[at : at + attack]).mean() for at in beats])
    before = np.mean([np.square(sound[at - attack : at]).mean() for at in beats[1:]])
    assert struck > 3 * before
