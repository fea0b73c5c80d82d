"""Augmentation of speech: what rooms, microphones, codecs and backgrounds do to a voice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]


def disturb(waveform: Floats, rng: np.random.Generator) -> Floats:
    """Colour, limit, reverberate, add noise to and scale a waveform of normalised loudness (N,)."""
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
    return (np.fft.irfft(spectrum, count) * gain).astype(np.float32)


def _random_colour(frequencies: Floats, rng: np.random.Generator, spread_db: float) -> Floats:
    knots = np.geomspace(60, 8000, 7)
    gains = rng.normal(0, spread_db / 2, len(knots))
    colour = np.interp(np.log(np.maximum(frequencies, 30)), np.log(knots), gains)
    return np.asarray(10 ** (colour / 20), np.float32)
