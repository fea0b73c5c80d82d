"""Audio level per video frame, and the gain that normalises the loudness of speech."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_opening, percentile_filter

from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

FLOOR_DB = -100.0
LEVEL_RATE_HZ = 25.0
SPEECH_LEVEL_DB = -20.0
"""Mean level of speech after normalisation, dBFS."""
SPEECH_RANGE_DB = 30.0
"""Frames at most this far below the loudest stretches count as speech."""
VOICE_RANGE_DB = 32.0
"""Audio this far below the loudest speech is silence between words."""
SILENCE_DB = -70.0
"""A recording whose loudest stretches stay below this level contains no speech."""
FLOOR_S = 8.0
"""Window, in seconds, whose quietest moments give the level of the room noise."""
FLOOR_PERCENTILE = 5.0
ABOVE_FLOOR_DB = 6.0
"""Audio less than this above the room noise counts as silence: hum, hiss, a held tone."""
LOUDEST_PERCENTILE = 95.0
MIN_SPEECH_SHARE = 1 / 3
"""At least this fraction of a speech recording is expected above the room noise. Pauses beyond that
do not count when its loudness is measured."""
MIN_SOUND_S = 0.12
"""Anything shorter is a click or the tick of a clock, not a syllable."""
MAX_PAUSE_S = 0.6
MIN_SENTENCE_S = 1.0
"""In a recording with sentences, the loudness of shorter sounds, such as a door, does not count."""
QUIET_SENTENCE_DB = 12.0
"""A sentence may be this much quieter than the loudest speech; it is raised if it is quieter."""
MAX_RAISE_DB = 18.0
"""Anything that needs a larger raise is breath or a voice in another room, and stays as it is."""


def frame_levels(waveform: Floats, num_frames: int, rate_hz: float) -> Floats:
    """Return the level of each frame in dBFS, at least -100, shape = (T,)."""
    edges = np.round(np.arange(num_frames + 1) / rate_hz * SAMPLE_RATE_HZ).astype(int)
    power = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    edges = edges.clip(0, len(waveform))
    mean = (power[edges[1:]] - power[edges[:-1]]) / np.maximum(edges[1:] - edges[:-1], 1)
    return np.asarray(10 * np.log10(np.maximum(mean, 10 ** (FLOOR_DB / 10))), np.float32)


def room_levels(levels_db: Floats, rate_hz: float = LEVEL_RATE_HZ) -> Floats:
    """Return the level of the room noise at each frame, shape = (T,)."""
    size = 2 * round(FLOOR_S * rate_hz / 2) + 1
    room: Floats = percentile_filter(levels_db, FLOOR_PERCENTILE, size=size, mode="nearest")
    return room


def loudest_level(levels_db: Floats, rate_hz: float = LEVEL_RATE_HZ) -> float:
    """Return the level of the loudest speech, however little speech a recording has.

    Args:
        levels_db: shape = (T,), level of each frame of the whole recording.
        rate_hz: frames per second.
    """
    if not len(levels_db):
        return FLOOR_DB
    rare = _rare_speech(levels_db, rate_hz)
    if rare is None:
        return float(np.percentile(levels_db, LOUDEST_PERCENTILE))
    return _level_of_sounds(levels_db[rare])


def quiet_speech_raise(levels_db: Floats, rate_hz: float = LEVEL_RATE_HZ) -> Floats:
    """Return how many decibels to raise the frames of unusually quiet sentences, shape = (T,).

    Args:
        levels_db: shape = (T,), level of each frame of the whole recording.
        rate_hz: frames per second.
    """
    raised = np.zeros(len(levels_db), np.float32)
    quietest = loudest_level(levels_db, rate_hz) - QUIET_SENTENCE_DB
    for sentence in _sentences(_frames_above_the_room(levels_db, rate_hz), rate_hz):
        lacking = quietest - _level_of_sounds(levels_db[sentence])
        if 0 < lacking <= MAX_RAISE_DB:
            margin = round(MAX_PAUSE_S * rate_hz / 2)
            part = slice(max(sentence[0] - margin, 0), sentence[-1] + margin + 1)
            raised[part] = lacking
    return raised


def _rare_speech(levels_db: Floats, rate_hz: float) -> npt.NDArray[np.intp] | None:
    """Return the frames of speech if a recording has little of it; None if all frames count."""
    at = _frames_above_the_room(levels_db, rate_hz)
    if len(at) == 0 or len(at) >= MIN_SPEECH_SHARE * len(levels_db):
        return None
    sentences = _sentences(at, rate_hz)
    return np.concatenate(sentences) if sentences else at


def _frames_above_the_room(levels_db: Floats, rate_hz: float) -> npt.NDArray[np.intp]:
    """Return the frames of sounds that are long enough to be a syllable."""
    if not len(levels_db):
        return np.zeros(0, np.intp)
    is_sound = levels_db > np.maximum(room_levels(levels_db, rate_hz) + ABOVE_FLOOR_DB, SILENCE_DB)
    return np.flatnonzero(binary_opening(is_sound, np.ones(max(round(MIN_SOUND_S * rate_hz), 1))))


def _sentences(at: npt.NDArray[np.intp], rate_hz: float) -> list[npt.NDArray[np.intp]]:
    """Split frames with sound at long pauses, and drop short parts."""
    parts = np.split(at, np.flatnonzero(np.diff(at) > MAX_PAUSE_S * rate_hz + 1) + 1)
    return [
        part for part in parts if len(part) and part[-1] - part[0] >= MIN_SENTENCE_S * rate_hz - 1
    ]


def _level_of_sounds(levels_db: Floats) -> float:
    """Return the level at `LOUDEST_PERCENTILE` as if pauses took up their largest share."""
    return float(np.percentile(levels_db, 100 - (100 - LOUDEST_PERCENTILE) / MIN_SPEECH_SHARE))


def speech_gain(levels_db: Floats, rate_hz: float = LEVEL_RATE_HZ) -> float:
    """Return the factor that brings speech to `SPEECH_LEVEL_DB`; 0 for a recording without any.

    Args:
        levels_db: shape = (T,), level of each frame of the whole recording.
        rate_hz: frames per second.
    """
    loudest = loudest_level(levels_db, rate_hz)
    if loudest < SILENCE_DB:
        return 0.0
    rare = _rare_speech(levels_db, rate_hz)
    speech = levels_db if rare is None else levels_db[rare]
    speech = speech[speech > loudest - SPEECH_RANGE_DB]
    mean_db = 10 * np.log10(np.mean(10 ** (speech / 10)))
    return float(10 ** ((SPEECH_LEVEL_DB - mean_db) / 20))


def loudness_of_voice(levels_db: Floats, rate_hz: float = LEVEL_RATE_HZ) -> Floats:
    """Return how loud a voice is, shape = (T,): 1 at its loudest, 0 at `VOICE_RANGE_DB` below."""
    above_db = levels_db - (loudest_level(levels_db, rate_hz) - VOICE_RANGE_DB)
    return np.clip(above_db / VOICE_RANGE_DB, 0, 1).astype(np.float32)


def normalise_speech(waveform: Floats) -> Floats:
    """Scale a whole recording, (N,), so that speech is at `SPEECH_LEVEL_DB`; silence becomes 0."""
    count = int(len(waveform) / SAMPLE_RATE_HZ * LEVEL_RATE_HZ)
    gain = speech_gain(frame_levels(waveform, count, LEVEL_RATE_HZ))
    return np.asarray(waveform * np.float32(gain), np.float32)
