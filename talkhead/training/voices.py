"""Speech augmentation: simulated rooms, microphones, codecs and background noise.

Also non-speech sound, which must not move the lips: music, breath, hum, noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

SPEECH_RMS = 0.1
"""RMS of waveforms with normalised loudness."""
MUSIC_SHARE = 0.15
"""Share of augmented speech with a non-noise background."""
GAP_S = (0.04, 0.14)
"""Length of the dropped moments."""
SEMITONES = (0, 2, 3, 5, 7, 8, 10, 12)


def disturb(waveform: Floats, rng: np.random.Generator) -> Floats:
    """Apply EQ, band limits, reverb, noise and gain to a waveform of normalised loudness (N,)."""
    count = len(waveform)
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(waveform)
    spectrum *= _random_colour(frequencies, rng, 7.0)
    if rng.random() < 0.25:
        cutoff = rng.uniform(2800, 6500)
        spectrum *= 1 / (1 + (frequencies / cutoff) ** 12)
    if rng.random() < 0.3:
        decay_s = rng.uniform(0.08, 0.5)
        length = int(decay_s * SAMPLE_RATE_HZ)
        tail = rng.normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= rng.uniform(0.05, 0.5) / np.sqrt(np.square(tail).sum())
        tail[0] = 1.0
        spectrum *= np.fft.rfft(tail, count)
    level = np.sqrt(np.square(waveform).mean() + 1e-12)
    if rng.random() < 0.7:
        noise = np.fft.rfft(rng.normal(size=count)) * _random_colour(frequencies, rng, 12.0)
        own_level = np.sqrt(np.square(np.abs(noise)).mean() / count) + 1e-9
        noise *= level * 10 ** (-rng.uniform(3, 35) / 20) / own_level
        spectrum += noise
    gain = 10 ** (rng.normal(0, 3) / 20)
    disturbed = np.fft.irfft(spectrum, count)
    if rng.random() < MUSIC_SHARE:
        below = 10 ** (-rng.uniform(8, 30) / 20)
        disturbed += not_speech(count, rng) * (level / SPEECH_RMS * below)
    return (disturbed * gain).astype(np.float32)


def drop_moments(waveform: Floats, rng: np.random.Generator) -> Floats:
    """Silence one to four moments of a waveform (N,), each as long as a short phoneme."""
    waveform = waveform.copy()
    for _ in range(int(rng.integers(1, 5))):
        length = min(int(rng.uniform(*GAP_S) * SAMPLE_RATE_HZ), len(waveform))
        start = int(rng.integers(len(waveform) - length + 1))
        waveform[start : start + length] = 0
    return waveform


def not_speech(count: int, rng: np.random.Generator) -> Floats:
    """Draw a mix of one to three of melody, drums, breath, hum and noise, at speech level, (N,)."""
    kinds = (_melody, _melody, _drums, _breath, _hum, _noise)
    chosen = rng.choice(len(kinds), size=int(rng.integers(1, 4)), replace=False)
    mixed = np.zeros(count)
    for index in chosen:
        part = kinds[index](count, rng)
        level = np.sqrt(np.square(part).mean()) + 1e-9
        mixed += part / level * 10 ** (rng.uniform(-12, 0) / 20)
    mixed *= SPEECH_RMS / (np.sqrt(np.square(mixed).mean()) + 1e-9)
    return mixed.astype(np.float32)


def _melody(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return notes or chords of a random scale, plucked or held."""
    sound = np.zeros(count)
    root_hz = rng.uniform(80, 330)
    pace_s = rng.uniform(0.12, 0.9)
    overtones = 0.3 ** (np.arange(1, 9) * rng.uniform(0.2, 1.2))
    decay_s = rng.uniform(0.1, 2.0)
    voices = int(rng.choice([1, 1, 3]))
    at = 0
    while at < count:
        length = min(int(rng.choice([0.5, 1, 1, 2]) * pace_s * SAMPLE_RATE_HZ) + 1, count - at)
        time_s = np.arange(length) / SAMPLE_RATE_HZ
        envelope = np.minimum(time_s / 0.01, 1) * np.exp(-time_s / decay_s)
        vibrato = 0.003 * np.sin(2 * np.pi * rng.uniform(4, 7) * time_s)
        for _ in range(voices):
            pitch_hz = root_hz * 2 ** (rng.choice(SEMITONES) / 12)
            phase = 2 * np.pi * pitch_hz * np.cumsum(1 + vibrato) / SAMPLE_RATE_HZ
            for number, strength in enumerate(overtones, 1):
                if number * pitch_hz < SAMPLE_RATE_HZ / 2:
                    sound[at : at + length] += strength * envelope * np.sin(number * phase)
        at += length
    return sound


def _drums(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    beat_s = rng.uniform(0.15, 0.6)
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    fall_s = rng.uniform(0.02, 0.12)
    return np.asarray(_coloured(count, rng) * np.exp(-(time_s % beat_s) / fall_s))


def _breath(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    period_s, share = rng.uniform(1.0, 4.0), rng.uniform(0.2, 0.6)
    time_s = np.arange(count) / SAMPLE_RATE_HZ + rng.uniform(0, period_s)
    phase = (time_s % period_s) / period_s / share
    return np.asarray(_coloured(count, rng) * np.sin(np.pi * np.minimum(phase, 1)) ** 2)


def _hum(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    base_hz = rng.choice([50.0, 60.0, float(rng.uniform(40, 1000))])
    numbers = np.arange(1, int(rng.integers(2, 9)))
    strengths = rng.uniform(0, 1, len(numbers)) / numbers
    return np.asarray(strengths @ np.sin(2 * np.pi * base_hz * numbers[:, None] * time_s))


def _noise(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    slow = np.interp(np.arange(count), np.linspace(0, count, 6), rng.uniform(0.3, 1, 6))
    return _coloured(count, rng) * slow


def _coloured(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    spectrum = np.fft.rfft(rng.normal(size=count)) * _random_colour(frequencies, rng, 16.0)
    return np.asarray(np.fft.irfft(spectrum, count))


def _random_colour(frequencies: Floats, rng: np.random.Generator, spread_db: float) -> Floats:
    knots = np.geomspace(60, 8000, 7)
    gains = rng.normal(0, spread_db / 2, len(knots))
    colour = np.interp(np.log(np.maximum(frequencies, 30)), np.log(knots), gains)
    return np.asarray(10 ** (colour / 20), np.float32)
