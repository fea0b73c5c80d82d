"""Task `speech`: pre-train the speech encoder to recognise phonemes.

Most of the speech is synthetic: espeak-ng reports the phoneme of every frame. The rest are prepared
clips with a transcript, trained with connectionist temporal classification (CTC).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.audio2landmarks.speech_encoder import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    SpeechConfig,
    SpeechEncoder,
)
from talkhead.data.clips import ClipInfo
from talkhead.data.espeak import Utterance, Voice, speak
from talkhead.data.phonemes import NUM_CLASSES, PAUSE, classes_of
from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.networks import load_alike, save_checkpoint
from talkhead.training.loop import Batch, Sample, dropout_from
from talkhead.training.samples import ClipBank
from talkhead.training.texts import (
    ENGLISH_SHARE,
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    LANGUAGES,
    VARIANTS,
    draw_text,
)
from talkhead.training.voices import disturb

Floats = npt.NDArray[np.float32]

NO_LABEL = -100
MAX_PHONEMES = 96
"""Transcripts with more phonemes than this are skipped."""
PREVIEW_COLOURS = 7


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


class Listener(nn.Module):
    """The encoder, plus two heads that are only used during training."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.encoder = SpeechEncoder(config)
        self.frame_head = nn.Linear(config.hidden_size, NUM_CLASSES)
        self.text_head = nn.Linear(config.hidden_size, NUM_CLASSES)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, N) to class logits per frame from both heads, each (B, T, classes)."""
        features, _, _ = self.encoder(waveform)
        return self.frame_head(features).float(), self.text_head(features).float()


class SpeechTask:
    """Pre-training of the speech encoder.

    Args:
        data: prepared folder.
        model_config: sizes of the encoder.
        config: task settings.
        seed: seed for the samples and the initial weights.
        initial: checkpoint folder of an encoder to start from.

    Raises:
        TalkheadError: espeak-ng is not installed, or the window is too short.
        WeightsError: the checkpoint to start from is missing, corrupt, or has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: SpeechConfig,
        config: SpeechTaskConfig,
        seed: int,
        initial: Path | None = None,
    ) -> None:
        if config.window_s < 1:
            raise TalkheadError(f"window_s is {config.window_s:g}: it must be at least 1")
        train, unseen, seen = split_rows(data)
        self._config = config
        self.samples = SpeechSamples(_recordings(data, train, config.window_s), config, seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = Listener(model_config)
        if initial is not None:
            load_alike(initial, self.model.encoder, model_config, architecture="speech")
        rng = np.random.default_rng([seed, 1])
        self._synthetic = {
            name: [
                self.samples.synthetic(str(rng.choice(voices)), rng, clean=True)
                for _ in range(config.validation_samples)
            ]
            for name, voices in (
                ("unseen_voice", [lang + v for lang in LANGUAGES for v in HELD_OUT_VARIANTS]),
                ("unseen_language", [lang + v for lang in HELD_OUT_LANGUAGES for v in VARIANTS]),
            )
        }
        self._recorded = {
            name: _recordings(data, rows, config.window_s)[: config.validation_samples]
            for name, rows in (("unseen_person", unseen), ("seen_person", seen))
        }

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the cross-entropy of synthetic frames and the CTC loss of transcripts."""
        with dropout_from(generator):
            frames, texts = model(batch["waveform"])
        labels, lengths = batch["labels"], batch["text_length"]
        known = (labels != NO_LABEL).sum().clamp(min=1)
        by_frame = functional.cross_entropy(
            frames.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum"
        )
        spoken = lengths > 0
        by_text = torch.zeros((), device=frames.device)
        if bool(spoken.any()):
            logits = functional.log_softmax(texts[spoken], -1).transpose(0, 1)
            full = torch.full((int(spoken.sum()),), logits.shape[0])
            texts = batch["text"][spoken]
            by_text = functional.ctc_loss(
                logits, texts, full, lengths[spoken], blank=PAUSE, zero_infinity=True
            )
        share = 1 - self._config.recorded_share
        frame_loss = by_frame / known
        loss = share * frame_loss + self._config.ctc_weight * (1 - share) * by_text
        return {"loss": loss, "frame": frame_loss, "text": by_text}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Score voices, languages and people that are not in the training set.

        Returns:
            For synthetic speech, the accuracy over frames that are not pauses; for recordings, the
            phoneme error rate (substitutions, deletions and insertions).
        """
        device = next(model.parameters()).device
        scores = {}
        for name, samples in self._synthetic.items():
            right = total = 0
            for begin in range(0, len(samples), 16):
                part = samples[begin : begin + 16]
                waveform = torch.from_numpy(np.stack([s["waveform"] for s in part])).to(device)
                labels = torch.from_numpy(np.stack([s["labels"] for s in part])).to(device)
                frames, _ = model(waveform)
                counted = (labels != PAUSE) & (labels != NO_LABEL)
                right += int(((frames.argmax(-1) == labels) & counted).sum())
                total += int(counted.sum())
            scores[f"{name}_accuracy"] = right / max(total, 1)
        for name, recordings in self._recorded.items():
            if recordings:
                wrong = sum(_errors(model, waveform, text) for waveform, text in recordings)
                scores[f"{name}_errors"] = wrong / sum(len(text) for _, text in recordings)
        return scores

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return phoneme stripes, truth above prediction, with one colour per class."""
        device = next(model.parameters()).device
        rng = np.random.default_rng(0)
        colours = rng.integers(40, 256, (NUM_CLASSES, 3))
        colours[PAUSE] = 0
        rows = []
        for sample in (s for part in self._synthetic.values() for s in part[:6]):
            frames, _ = model(torch.from_numpy(sample["waveform"])[None].to(device))
            for stripe in (sample["labels"], frames[0].argmax(-1).cpu().numpy()):
                rows += [colours[stripe]] * 3
            rows += [colours[np.zeros(len(sample["labels"]), int)]]
        picture = Image.fromarray(np.stack(rows).astype(np.uint8))
        size = picture.width * 4, picture.height * 4
        return np.array(picture.resize(size, Image.Resampling.NEAREST))

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the encoder's checkpoint folder."""
        assert isinstance(model, Listener)
        save_checkpoint(
            folder,
            architecture="speech",
            config=model.encoder.config,
            state=model.encoder.state_dict(),
            dtype=torch.float16,
        )


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


def _recordings(
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


def _errors(model: nn.Module, waveform: Floats, text: npt.NDArray[np.int64]) -> int:
    device = next(model.parameters()).device
    _, logits = model(torch.from_numpy(normalise_speech(waveform))[None].to(device))
    best = [key for key, _ in groupby(logits[0].argmax(-1).tolist()) if key != PAUSE]
    return edit_distance(best, text.tolist())


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(before + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]
