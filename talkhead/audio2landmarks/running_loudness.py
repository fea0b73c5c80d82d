"""Loudness of a voice that is still being heard: what `loudness` measures in whole recordings.

Every estimate starts from ordinary speech and adapts to the voice, slowly enough that no change
shows. Frames come one by one, so the estimates do not depend on how the sound was delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.loudness import (
    ABOVE_FLOOR_DB,
    FLOOR_DB,
    FLOOR_PERCENTILE,
    LEVEL_RATE_HZ,
    LOUDEST_PERCENTILE,
    MAX_PAUSE_S,
    MAX_RAISE_DB,
    MIN_SENTENCE_S,
    MIN_SOUND_S,
    MIN_SPEECH_SHARE,
    QUIET_SENTENCE_DB,
    SILENCE_DB,
    SPEECH_LEVEL_DB,
    SPEECH_RANGE_DB,
    VOICE_RANGE_DB,
)

ORDINARY_MEAN_DB, ORDINARY_LOUDEST_DB = -21.0, -16.0
"""Mean level and loudest level of ordinary recorded speech, dBFS."""
ORDINARY_S = 0.5
"""How many seconds of speech the ordinary levels weigh."""
MEMORY_S = 20.0
"""Seconds of speech that the estimates remember."""
ROOM_S = 4.0
"""Seconds whose quietest moments give the room noise. Shorter than for whole recordings, because a
noise that starts is known only after most of this time."""
DIGITAL_SILENCE_DB = -90.0
"""Anything quieter says nothing about the room."""
GAIN_DB_PER_S = 12.0
"""Fastest change of the gain: half a decibel per frame does not show."""
GATE_SOFT_DB = 8.0


@dataclass(frozen=True)
class HeardFrame:
    """What is known about a frame's sound when it has been heard.

    Attributes:
        speaks: from 0 (silence or room noise) to 1 (speech), before it is held and smoothed.
        loudness: of the voice, from 0 to 1.
        gain_db: gain that brings speech to `SPEECH_LEVEL_DB`, quiet sentences included.
    """

    speaks: float
    loudness: float
    gain_db: float


class RunningLoudness:
    """Estimates room noise, loudness and gain at 25 frames per second."""

    def __init__(self) -> None:
        rate = LEVEL_RATE_HZ
        self._room: deque[float] = deque(maxlen=round(ROOM_S * rate))
        self._speech: deque[float] = deque(maxlen=round(MEMORY_S * rate))
        self._sentence: deque[float] = deque(maxlen=round(MEMORY_S * rate))
        self._num_sounding = self._num_pausing = 0
        self._gain_db = SPEECH_LEVEL_DB - ORDINARY_MEAN_DB
        self._loudest_db = ORDINARY_LOUDEST_DB
        self._raised_db = 0.0

    def add(self, level_db: float) -> HeardFrame:
        """Take the level of the next frame, from `frame_levels`."""
        room_db = self._room_level(level_db)
        sounds = level_db > max(room_db + ABOVE_FLOOR_DB, SILENCE_DB)
        self._note_sound(level_db, sounds=sounds)
        self._adapt()
        quietest_db = self._loudest_db - VOICE_RANGE_DB
        threshold_db = max(quietest_db - self._raised_db, room_db + ABOVE_FLOOR_DB, SILENCE_DB)
        above_db = level_db - quietest_db
        return HeardFrame(
            speaks=_unit((level_db - threshold_db) / GATE_SOFT_DB),
            loudness=_unit(_unit(above_db / VOICE_RANGE_DB) + self._raised_db / VOICE_RANGE_DB),
            gain_db=self._gain_db + self._raised_db,
        )

    def _room_level(self, level_db: float) -> float:
        if level_db > DIGITAL_SILENCE_DB:
            self._room.append(level_db)
        if not self._room:
            return FLOOR_DB
        return float(np.percentile(self._room, FLOOR_PERCENTILE))

    def _note_sound(self, level_db: float, *, sounds: bool) -> None:
        """Remember the levels of sounds that are long enough, and where a sentence ends."""
        if sounds:
            self._num_sounding, self._num_pausing = self._num_sounding + 1, 0
            if self._num_sounding >= round(MIN_SOUND_S * LEVEL_RATE_HZ):
                self._speech.append(level_db)
                self._sentence.append(level_db)
            return
        self._num_sounding, self._num_pausing = 0, self._num_pausing + 1
        if self._num_pausing > MAX_PAUSE_S * LEVEL_RATE_HZ:
            self._sentence.clear()

    def _adapt(self) -> None:
        weight = len(self._speech) / (len(self._speech) + ORDINARY_S * LEVEL_RATE_HZ)
        loudest_db, mean_db = ORDINARY_LOUDEST_DB, ORDINARY_MEAN_DB
        if self._speech:
            levels = np.array(self._speech)
            measured_db = _level_of_sounds(levels)
            powers = 10 ** (levels[levels > measured_db - SPEECH_RANGE_DB] / 10)
            loudest_db += weight * (measured_db - loudest_db)
            mean_db += weight * (float(10 * np.log10(powers.mean())) - mean_db)
        lacking_db = 0.0
        if len(self._sentence) >= MIN_SENTENCE_S * LEVEL_RATE_HZ / 2:
            found_db = self._loudest_db - QUIET_SENTENCE_DB - _level_of_sounds(list(self._sentence))
            lacking_db = found_db if 0 < found_db <= MAX_RAISE_DB else 0.0
        self._gain_db = _nearer(self._gain_db, SPEECH_LEVEL_DB - mean_db)
        self._loudest_db = _nearer(self._loudest_db, loudest_db)
        self._raised_db = _nearer(self._raised_db, lacking_db)


def _level_of_sounds(levels_db: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return the loudest level of the frames with sound, as `loudest_level` does."""
    percentile = 100 - (100 - LOUDEST_PERCENTILE) / MIN_SPEECH_SHARE
    return float(np.percentile(np.asarray(levels_db), percentile))


def _nearer(value_db: float, target_db: float) -> float:
    step_db = GAIN_DB_PER_S / LEVEL_RATE_HZ
    return value_db + min(max(target_db - value_db, -step_db), step_db)


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
