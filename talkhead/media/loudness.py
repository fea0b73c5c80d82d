"""Sound level per video frame, and the gain that brings a recording's speech to one loudness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

FLOOR_DB = -100.0
LEVEL_RATE_HZ = 25.0
SPEECH_LEVEL_DB = -20.0
"""Mean level of speech after normalisation, decibels of full scale."""
SPEECH_RANGE_DB = 30.0
"""What is at most this far below the loudest stretches counts as speech."""
VOICE_RANGE_DB = 32.0
"""Sound this far below the loudest speech is silence between words."""
SILENCE_DB = -70.0
"""A recording whose loudest stretches stay below this has no speech in it."""


def frame_levels(waveform: Floats, num_frames: int, fps: float) -> Floats:
    """Return every frame's level in decibels of full scale, at least -100, shape = (T,)."""
    edges = np.round(np.arange(num_frames + 1) / fps * SAMPLE_RATE_HZ).astype(int)
    power = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    edges = edges.clip(0, len(waveform))
    mean = (power[edges[1:]] - power[edges[:-1]]) / np.maximum(edges[1:] - edges[:-1], 1)
    return np.asarray(10 * np.log10(np.maximum(mean, 10 ** (FLOOR_DB / 10))), np.float32)


def speech_gain(levels_db: Floats) -> float:
    """Return the factor that brings speech to `SPEECH_LEVEL_DB`; 0 for a recording without any.

    Args:
        levels_db: shape = (T,), level of every frame of the whole recording.
    """
    loudest = float(np.percentile(levels_db, 95)) if len(levels_db) else FLOOR_DB
    if loudest < SILENCE_DB:
        return 0.0
    speech = levels_db[levels_db > loudest - SPEECH_RANGE_DB]
    mean_db = 10 * np.log10(np.mean(10 ** (speech / 10)))
    return float(10 ** ((SPEECH_LEVEL_DB - mean_db) / 20))


def loudness_of_voice(levels_db: Floats) -> Floats:
    """Return how loud a voice is, shape = (T,): 1 for its loudest, 0 for `VOICE_RANGE_DB` less."""
    loudest = float(np.percentile(levels_db, 95)) if len(levels_db) else FLOOR_DB
    return np.clip((levels_db - (loudest - VOICE_RANGE_DB)) / VOICE_RANGE_DB, 0, 1).astype(
        np.float32
    )


def normalise_speech(waveform: Floats) -> Floats:
    """Bring the speech of a whole recording, (N,), to `SPEECH_LEVEL_DB`; silence becomes zeros."""
    count = int(len(waveform) / SAMPLE_RATE_HZ * LEVEL_RATE_HZ)
    gain = speech_gain(frame_levels(waveform, count, LEVEL_RATE_HZ))
    return np.asarray(waveform * np.float32(gain), np.float32)
