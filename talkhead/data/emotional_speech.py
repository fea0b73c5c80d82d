"""Recordings of acted emotions from RAVDESS and EmoDB, identified by their file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.errors import TalkheadError
from talkhead.media.audio_clip import AudioClip
from talkhead.media.files import SOUND_SUFFIXES
from talkhead.media.rates import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]

_RAVDESS = re.compile(r"\d\d-\d\d-(?P<emotion>0[1-8])-\d\d-\d\d-\d\d-(?P<person>\d\d)")
"""Modality, channel, emotion, intensity, statement, repetition, actor."""
_RAVDESS_LABELS = {
    **{"01": "neutral", "02": "calm", "03": "happy", "04": "sad"},
    **{"05": "angry", "06": "fear", "07": "disgusted", "08": "surprised"},
}
_EMODB = re.compile(r"(?P<person>\d\d)[a-z]\d\d(?P<emotion>[WLEAFTN])[a-z]?")
"""Speaker, text, the German emotion's initial, version."""
_EMODB_LABELS = {
    **{"W": "angry", "L": "bored", "E": "disgusted", "A": "fear"},
    **{"F": "happy", "T": "sad", "N": "neutral"},
}
CORPORA = {
    "ravdess": (_RAVDESS, _RAVDESS_LABELS),
    "emodb": (_EMODB, _EMODB_LABELS),
}
_TRIM_DB = 38.0
"""Leading and trailing sound this far below the loudest moment is trimmed."""
_TRIM_BLOCK = 320


@dataclass(frozen=True)
class Recording:
    """One utterance."""

    path: Path
    corpus: str
    person: str
    """Corpus and number; equal numbers in two corpora are different people."""
    label: str
    """One of `talkhead.emotions.VOICE_LABELS`."""


def labels_of(corpus: str) -> frozenset[str]:
    """Return the labels used in a corpus."""
    return frozenset(CORPORA[corpus][1].values())


def find_recordings(folder: Path) -> list[Recording]:
    """Find the recordings in a folder that are named like RAVDESS's or EmoDB's, sorted by path.

    Raises:
        TalkheadError: the folder has none.
    """
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES):
        for corpus, (pattern, labels) in CORPORA.items():
            if name := pattern.fullmatch(path.stem):
                person = f"{corpus}-{name['person']}"
                found.append(Recording(path, corpus, person, labels[name["emotion"]]))
    if not found:
        raise TalkheadError(
            f"{folder} has no recordings named like RAVDESS's (03-01-05-01-01-01-12.wav) or EmoDB's"
            " (03a01Wa.wav)"
        )
    return found


def held_out_people(recordings: Iterable[Recording], fold: int, num_folds: int) -> frozenset[str]:
    """Return the people held out in a fold: every `num_folds`-th person of each corpus.

    Each person is held out in exactly one fold.
    """
    held_out: set[str] = set()
    people = {(one.corpus, one.person) for one in recordings}
    for corpus in CORPORA:
        names = sorted(person for of, person in people if of == corpus)
        held_out.update(names[fold::num_folds])
    return frozenset(held_out)


def read_recording(recording: Recording) -> npt.NDArray[np.int16]:
    """Read a recording, trimmed and with normalised loudness, 16 kHz, (N,).

    Raises:
        TalkheadError: the file cannot be read.
    """
    with AudioClip.open(recording.path) as clip:
        return as_int16(trim(normalise_speech(clip.waveform())))


def as_int16(waveform: Floats) -> npt.NDArray[np.int16]:
    """Store a waveform in half the memory, (N,)."""
    return (waveform.clip(-1, 1) * 32767).round().astype(np.int16)


def trim(waveform: Floats) -> Floats:
    """Trim silence at both ends to 0.1 s; a silent waveform is returned unchanged."""
    count = len(waveform) // _TRIM_BLOCK
    if not count:
        return waveform
    power = np.square(waveform[: count * _TRIM_BLOCK]).reshape(count, -1).mean(1)
    loud = np.flatnonzero(power > max(float(power.max()) * 10 ** (-_TRIM_DB / 10), 1e-9))
    if not len(loud):
        return waveform
    edge = SAMPLE_RATE_HZ // 10
    first = max(0, int(loud[0]) * _TRIM_BLOCK - edge)
    return waveform[first : int(loud[-1] + 1) * _TRIM_BLOCK + edge]
