"""Task `speech`: pre-train the speech encoder to recognise phonemes.

Most of the speech is synthetic: espeak-ng reports the phoneme of every frame. The rest are prepared
clips with a transcript, trained with connectionist temporal classification (CTC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.data.phonemes import NUM_CLASSES, PAUSE
from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.training.config import CHECKPOINT
from talkhead.training.loop import dropout_from
from talkhead.training.samples import Batch
from talkhead.training.speech_samples import (
    NO_LABEL,
    SpeechSamples,
    SpeechTaskConfig,
    read_recordings,
)
from talkhead.training.texts import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    LANGUAGES,
    VARIANTS,
)

Floats = npt.NDArray[np.float32]


class TrainModule(nn.Module):
    """The encoder, plus two heads that are only used during training."""

    def __init__(self, model_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = SpeechEncoder(**model_config)
        size = int(self.encoder.config.hidden_size)
        self.frame_head = nn.Linear(size, NUM_CLASSES)
        self.text_head = nn.Linear(size, NUM_CLASSES)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, N) to class logits per frame from both heads, each (B, T, classes)."""
        features, _, _ = self.encoder(waveform)
        return self.frame_head(features).float(), self.text_head(features).float()


class SpeechTask:
    """Pre-training of the speech encoder.

    Args:
        data: prepared folder.
        model_config: arguments of the network.
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
        model_config: Mapping[str, Any],
        config: SpeechTaskConfig,
        seed: int,
        initial: Path | None = None,
    ) -> None:
        if config.window_s < 1:
            raise TalkheadError(f"window_s is {config.window_s:g}: it must be at least 1")
        train, unseen, seen = split_rows(data)
        self._config = config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = TrainModule(model_config)
        if initial is not None:
            self.model.encoder.load_alike(initial)
        self.samples = SpeechSamples(read_recordings(data, train, config.window_s), config, seed)
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
            name: read_recordings(data, rows, config.window_s)[: config.validation_samples]
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

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the encoder's checkpoint folder."""
        assert isinstance(model, TrainModule)
        model.encoder.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


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
