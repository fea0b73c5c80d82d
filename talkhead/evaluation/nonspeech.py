"""Sounds without a voice, synthesised from a seed: silence, the noise of a room, and music."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[np.float64]

QUIET_ROOM_DB, LOUD_ROOM_DB, MUSIC_DB = -50.0, -30.0, -20.0
"""Mean levels, dBFS: a quiet room, a fan or a street, and music as loud as normalised speech."""
LOWEST_HZ = 30.0
BEAT_S = 0.6
"""100 beats per minute."""
CHORDS = ((0, 4, 7), (7, 11, 14), (9, 12, 16), (5, 9, 12))
"""C, G, A minor and F, one bar each, in semitones above `ROOT_HZ`."""
ROOT_HZ = 130.8
HARMONICS = (1.0, 0.5, 0.33, 0.25, 0.12, 0.06)
"""Amplitudes of a tone's harmonics."""


class Sound(Protocol):
    """Makes a sound."""

    def __call__(self, num_samples: int, seed: int) -> Floats:
        """Return the sound, (N,), 16 kHz."""


def digital_silence(num_samples: int, seed: int = 0) -> Floats:
    """Return zeros, (N,); the seed has no effect."""
    return np.zeros(num_samples, np.float32)


def room_noise(num_samples: int, seed: int = 0, level_db: float = QUIET_ROOM_DB) -> Floats:
    """Return pink noise, (N,): its power falls by 3 dB per octave above `LOWEST_HZ`.

    Args:
        num_samples: N, at 16 kHz.
        seed: random seed.
        level_db: mean level, dBFS.
    """
    white = np.random.default_rng(seed).normal(size=num_samples)
    spectrum = np.fft.rfft(white)
    hertz = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE_HZ)
    audible = hertz >= LOWEST_HZ
    spectrum[audible] /= np.sqrt(hertz[audible])
    spectrum[~audible] = 0
    return _at_level(np.fft.irfft(spectrum, num_samples), level_db)


def music(num_samples: int, seed: int = 0, level_db: float = MUSIC_DB) -> Floats:
    """Return chords of harmonic tones over a bass, with a kick, a snare and a hi-hat, (N,).

    Args:
        num_samples: N, at 16 kHz.
        seed: random seed of the drums' noise.
        level_db: mean level, dBFS.
    """
    rng = np.random.default_rng(seed)
    mixed = np.zeros(num_samples)
    for beat in range(int(num_samples / SAMPLE_RATE_HZ / BEAT_S) + 1):
        start = round(beat * BEAT_S * SAMPLE_RATE_HZ)
        chord = CHORDS[beat // 4 % len(CHORDS)]
        if beat % 2 == 0:
            for semitones in (chord[0] - 12, *chord):
                _add(mixed, start, 0.25 * _tone(ROOT_HZ * 2 ** (semitones / 12), 2 * BEAT_S))
        _add(mixed, start, _snare(rng) if beat % 2 else _kick())
        for half in (0, 1):
            _add(mixed, start + round(half * BEAT_S / 2 * SAMPLE_RATE_HZ), _hi_hat(rng))
    return _at_level(mixed, level_db)


SOUNDS: Mapping[str, Sound] = {
    "digital silence": digital_silence,
    "quiet room": room_noise,
    "loud room": partial(room_noise, level_db=LOUD_ROOM_DB),
    "music": music,
}
"""The sounds of the silence test, by name."""


def _tone(hertz: float, duration_s: float) -> Samples:
    """Return a plucked tone that decays until it ends."""
    time = _time(duration_s)
    waves = [
        amplitude * np.sin(2 * np.pi * hertz * number * time)
        for number, amplitude in enumerate(HARMONICS, start=1)
        if hertz * number < SAMPLE_RATE_HZ / 2
    ]
    envelope = np.minimum(time / 0.01, 1) * np.exp(-2 * time) * (1 - time / duration_s)
    return np.asarray(sum(waves) * envelope)


def _kick() -> Samples:
    time = _time(0.25)
    return np.asarray(np.sin(2 * np.pi * (50 * time - 4 * np.exp(-20 * time))) * np.exp(-15 * time))


def _snare(rng: np.random.Generator) -> Samples:
    time = _time(0.2)
    body = np.sin(2 * np.pi * 180 * time)
    return np.asarray(0.4 * (body + rng.normal(size=len(time))) * np.exp(-20 * time))


def _hi_hat(rng: np.random.Generator) -> Samples:
    time = _time(0.06)
    hiss = np.diff(rng.normal(size=len(time)), prepend=0.0)
    return np.asarray(0.15 * hiss * np.exp(-60 * time))


def _time(duration_s: float) -> Samples:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _add(mixed: Samples, start: int, sound: Samples) -> None:
    """Add a sound to a mix at a sample; whatever exceeds the end is cut."""
    room = mixed[start : start + len(sound)]
    room += sound[: len(room)]


def _at_level(sound: Samples, level_db: float) -> Floats:
    """Scale a sound to a mean level, and limit it to full scale."""
    loudness = np.sqrt(np.mean(np.square(sound)))
    scaled = sound * (10 ** (level_db / 20) / loudness)
    return np.asarray(np.clip(scaled, -1, 1), np.float32)
