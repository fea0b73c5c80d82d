"""Samples of the task `speech`: synthetic sentences, and clips with their transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.audio2landmarks.speech_features import FIELD_SAMPLES, HOP_SAMPLES
from talkhead.data.clips import ClipInfo
from talkhead.data.espeak import Utterance, Voice, speak
from talkhead.data.phonemes import PAUSE, classes_of
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.training.samples import ClipBank, Sample
from talkhead.training.texts import ENGLISH_SHARE, LANGUAGES, VARIANTS, draw_text
from talkhead.training.voices import disturb

Floats = npt.NDArray[np.float32]

NO_LABEL = -100
MAX_PHONEMES = 96
"""Transcripts with more phonemes than this are skipped."""


@dataclass(frozen=True)
class SpeechTaskConfig:
    """The table [task] of `talkhead train speech`."""

    initial: str = ""
    """Checkpoint folder of an encoder that a new run starts from, relative to the TOML file; ""
    for random weights."""
    window_s: float = 3.0
    """Length of one sample."""
    recorded_share: float = 0.2
    """Share of samples from prepared clips with a transcript, if any exist."""
    disturb_share: float = 0.75
    """Share of samples augmented with rooms, microphones, codecs and noise."""
    ctc_weight: float = 0.5
    """Weight of the CTC loss of recorded speech, relative to the frame loss of synthetic speech."""
    validation_samples: int = 48
    """Number of synthetic sentences to score per category."""


class SpeechSamples:
    """Synthetic sentences with per-frame phonemes, and recorded ones with their transcripts."""

    def __init__(
        self,
        recorded: Sequence[tuple[Floats, npt.NDArray[np.int64]]],
        config: SpeechTaskConfig,
        seed: int,
    ) -> None:
        self._recorded, self._config, self._seed = recorded, config, seed
        self.num_samples = round(config.window_s * SAMPLE_RATE_HZ)

    def sample(self, index: int) -> Sample:
        """Return `waveform` (N,), `labels` (T,), `text` (96,) and `text_length` ()."""
        rng = np.random.default_rng([self._seed, index])
        if self._recorded and rng.random() < self._config.recorded_share:
            waveform, phonemes = self._recorded[int(rng.integers(len(self._recorded)))]
            return self._from_recording(waveform, phonemes, rng)
        language = "en" if rng.random() < ENGLISH_SHARE else str(rng.choice(LANGUAGES))
        return self.synthetic(language + str(rng.choice(VARIANTS)), rng)

    def synthetic(self, voice: str, rng: np.random.Generator, *, clean: bool = False) -> Sample:
        """Synthesise a random sentence at a random position, cropped if longer than the window."""
        spoken = speak(
            draw_text(voice.split("+")[0], rng),
            Voice(
                voice,
                words_per_minute=int(rng.integers(120, 260)),
                pitch=int(rng.integers(20, 80)),
                liveliness=int(rng.integers(15, 85)),
            ),
        )
        waveform = resample_poly(spoken.waveform, SAMPLE_RATE_HZ, spoken.rate_hz)
        waveform = waveform.astype(np.float32)
        speed = 1.0 if clean else float(np.exp(rng.normal(0, 0.12)))
        at = np.arange(0, max(len(waveform) - 1, 1), speed)
        waveform = np.interp(at, np.arange(len(waveform)), waveform).astype(np.float32)
        spare = self.num_samples - len(waveform)
        start = int(rng.integers(min(spare, 0), max(spare, 0) + 1))
        window = np.zeros(self.num_samples, np.float32)
        begin, end = max(start, 0), min(start + len(waveform), self.num_samples)
        window[begin:end] = waveform[begin - start : end - start]
        labels = frame_labels(
            spoken, (_frame_times(self.num_samples) - start / SAMPLE_RATE_HZ) * speed
        )
        return self._finish(window, labels, np.zeros(0, np.int64), rng, clean=clean)

    def _from_recording(
        self, waveform: Floats, phonemes: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        speed = float(np.exp(rng.normal(0, 0.1)))
        # The whole sentence must fit into the window.
        speed = max(speed, len(waveform) / self.num_samples)
        at = np.arange(self.num_samples) * speed
        window = np.interp(at, np.arange(len(waveform)), waveform, right=0).astype(np.float32)
        labels = np.full(len(_frame_times(self.num_samples)), NO_LABEL, np.int64)
        return self._finish(window, labels, phonemes, rng)

    def _finish(
        self,
        window: Floats,
        labels: npt.NDArray[np.int64],
        phonemes: npt.NDArray[np.int64],
        rng: np.random.Generator,
        *,
        clean: bool = False,
    ) -> Sample:
        window = normalise_speech(window)
        if not clean and rng.random() < self._config.disturb_share:
            window = disturb(window, rng)
        text = np.zeros(MAX_PHONEMES, np.int64)
        text[: len(phonemes)] = phonemes
        return {
            "waveform": window,
            "labels": labels,
            "text": text,
            "text_length": np.array(len(phonemes)),
        }


def frame_labels(spoken: Utterance, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the phoneme class at each time, (T,).

    Args:
        spoken: the utterance.
        times_s: (T,), seconds from the start of the utterance; outside it is a pause.
    """
    end_s = len(spoken.waveform) / spoken.rate_hz
    starts, classes = [-np.inf], [PAUSE]
    for phoneme, (begin, after) in zip(
        spoken.phonemes, pairwise([*spoken.starts_s, end_s]), strict=True
    ):
        parts = classes_of(phoneme)
        for k, part in enumerate(parts):
            starts.append(begin + (after - begin) * k / len(parts))
            classes.append(part)
    starts.append(end_s)
    classes.append(PAUSE)
    found = np.searchsorted(np.array(starts), times_s, side="right") - 1
    labels: npt.NDArray[np.int64] = np.array(classes, np.int64)[found]
    return labels


def text_classes(text: str) -> npt.NDArray[np.int64]:
    """Return the phoneme classes of a text read in English, without pauses."""
    spoken = speak(text, Voice("en"))
    found = [part for phoneme in spoken.phonemes for part in classes_of(phoneme)]
    return np.array([part for part in found if part != PAUSE], np.int64)


def _frame_times(num_samples: int) -> npt.NDArray[np.float64]:
    count = (num_samples - FIELD_SAMPLES) // HOP_SAMPLES + 1
    return (np.arange(count) * HOP_SAMPLES + FIELD_SAMPLES / 2) / SAMPLE_RATE_HZ


def read_recordings(
    data: Path, rows: list[ClipInfo], window_s: float
) -> list[tuple[Floats, npt.NDArray[np.int64]]]:
    """Return sound and phonemes of the clips that have a transcript and fit into a window."""
    rows = [row for row in rows if row.transcript and row.has_sound]
    if not rows:
        return []
    known: dict[str, npt.NDArray[np.int64]] = {}
    found = []
    for clip, row in zip(ClipBank(data, rows, frames=False).clips, rows, strict=True):
        if row.transcript not in known:
            known[row.transcript] = text_classes(row.transcript)
        waveform, phonemes = clip.waveform_float(), known[row.transcript]
        fits = len(waveform) <= 1.2 * window_s * SAMPLE_RATE_HZ
        if fits and 0 < len(phonemes) <= MAX_PHONEMES:
            found.append((waveform, phonemes))
    return found
