"""Recordings of speech without video, and windows of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.data.emotional_speech import as_int16
from talkhead.errors import TalkheadError
from talkhead.media.audio_clip import AudioClip
from talkhead.media.files import SOUND_SUFFIXES

Floats = npt.NDArray[np.float32]

MIN_RECORDING_S = 1.0


def read_recordings(folder: Path) -> list[npt.NDArray[np.int16]]:
    """Read all recordings of speech below a folder, at normalised loudness and 16 kHz, (N,) each.

    Raises:
        TalkheadError: there is none that lasts at least `MIN_RECORDING_S`, or one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES)
    found = []
    for path in paths:
        with AudioClip.open(path) as clip:
            if clip.duration_s >= MIN_RECORDING_S:
                found.append(as_int16(normalise_speech(clip.waveform())))
    if not found:
        raise TalkheadError(
            f"{folder} has no recordings ({', '.join(SOUND_SUFFIXES)}) of at least"
            f" {MIN_RECORDING_S:g} s"
        )
    return found


def draw_window(
    recording: npt.NDArray[np.int16], count: int, speed: float, rng: np.random.Generator
) -> Floats:
    """Draw a window at some speed, (count,); silence surrounds recordings that are shorter."""
    spare = len(recording) - count * speed
    start = rng.uniform(min(spare, 0), max(spare, 0))
    at = start + np.arange(count) * speed
    first = max(int(at[0]), 0)
    piece = recording[first : int(at[-1]) + 2].astype(np.float32) / 32767
    return np.interp(at - first, np.arange(len(piece)), piece, left=0, right=0).astype(np.float32)
