"""Task `emotion`: classify the emotion of a voice, trained on recordings of actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from talkhead.atomic import replacing
from talkhead.audio2landmarks.emotion_classifier import (
    MIN_SAMPLES,
    EmotionClassifier,
)
from talkhead.data.emotional_speech import (
    CORPORA,
    Recording,
    find_recordings,
    held_out_people,
    labels_of,
    read_recording,
)
from talkhead.emotions import VOICE_LABELS
from talkhead.errors import TalkheadError
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.training.config import CHECKPOINT
from talkhead.training.loop import dropout_from
from talkhead.training.samples import Batch, Sample
from talkhead.training.voices import disturb

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

CONFUSIONS = "confusions.csv"
"""Confusion matrices on held-out people, in the checkpoint folder."""
_SHORTEST_S = 0.5
_CELL = 24
"""Size of a cell of the preview, pixels."""


@dataclass(frozen=True)
class EmotionTaskConfig:
    """The table [task] of `talkhead train emotion`."""

    fold: int = 0
    """Fold whose people are held out; every person is held out in exactly one fold."""
    num_folds: int = 5
    window_s: float = 3.0
    """Maximum length of a sample; longer recordings are cropped."""
    speed_spread: float = 0.08
    """Standard deviation of the log playback speed, which also shifts the pitch."""
    disturb_share: float = 0.6
    """Share of samples augmented with rooms, microphones, codecs and noise."""
    mixed_share: float = 0.5
    """Share of batches whose samples and labels are mixed in pairs (mixup)."""
    num_masks: int = 2
    """Number of frequency masks, and of time masks, per sample."""
    smoothing: float = 0.1
    """Label smoothing."""


class EmotionSamples:
    """Excerpts of recordings: corpora drawn by the square root of their size, emotions evenly."""

    def __init__(
        self,
        waveforms: Sequence[npt.NDArray[np.int16]],
        recordings: Sequence[Recording],
        config: EmotionTaskConfig,
        seed: int,
    ) -> None:
        self._waveforms, self._config, self._seed = waveforms, config, seed
        self._num_samples = round(config.window_s * SAMPLE_RATE_HZ)
        groups: dict[str, dict[str, list[int]]] = {}
        for index, one in enumerate(recordings):
            groups.setdefault(one.corpus, {}).setdefault(one.label, []).append(index)
        self._groups = groups
        self._sizes = np.array(
            [sum(map(len, labels.values())) for labels in groups.values()], float
        )
        self._labels = [VOICE_LABELS.index(one.label) for one in recordings]

    def sample(self, index: int) -> Sample:
        """Return `waveform` (N,), `length` () and `label` ()."""
        rng = np.random.default_rng([self._seed, index])
        share = self._sizes**0.5
        corpus = list(self._groups)[int(rng.choice(len(share), p=share / share.sum()))]
        labels = self._groups[corpus]
        chosen = labels[sorted(labels)[int(rng.integers(len(labels)))]]
        number = chosen[int(rng.integers(len(chosen)))]
        waveform = self._waveforms[number].astype(np.float32) / 32768
        speed = float(np.exp(rng.normal(0, self._config.speed_spread)))
        at = np.arange(0, len(waveform) - 1, speed)
        waveform = np.interp(at, np.arange(len(waveform)), waveform).astype(np.float32)
        spare = len(waveform) - self._num_samples
        if spare > 0:
            start = int(rng.integers(spare + 1))
            waveform = waveform[start : start + self._num_samples]
        if rng.random() < self._config.disturb_share:
            waveform = disturb(waveform, rng)
        window = np.zeros(self._num_samples, np.float32)
        window[: len(waveform)] = waveform
        return {
            "waveform": window,
            "length": np.array(len(waveform)),
            "label": np.array(self._labels[number]),
        }


class EmotionTask:
    """Training of the emotion classifier; no speaker is both trained on and scored.

    Args:
        data: folder with recordings named like RAVDESS's or EmoDB's, in any subfolders.
        model_config: arguments of the network.
        config: task settings.
        seed: seed for the samples and the initial weights.

    Raises:
        TalkheadError: the folder has no recordings, the train or test split would be empty, or a
            setting is invalid.
    """

    def __init__(
        self, data: Path, model_config: Mapping[str, Any], config: EmotionTaskConfig, seed: int
    ) -> None:
        if not 0 <= config.fold < config.num_folds:
            raise TalkheadError(
                f"fold is {config.fold}: it must be from 0 to {config.num_folds - 1}"
            )
        if config.window_s < 1:
            raise TalkheadError(f"window_s is {config.window_s:g}: it must be at least 1")
        if config.speed_spread < 0 or config.num_masks < 0:
            raise TalkheadError("speed_spread and num_masks cannot be negative")
        recordings = find_recordings(data)
        held_out = held_out_people(recordings, config.fold, config.num_folds)
        train = [one for one in recordings if one.person not in held_out]
        test = [one for one in recordings if one.person in held_out]
        if not train or not test:
            raise TalkheadError(
                f"{data} has {len({one.person for one in recordings})} people: too few to hold"
                f" some out in {config.num_folds} folds"
            )
        self._config = config
        waveforms = [read_recording(one) for one in train]
        shortest = round(_SHORTEST_S * SAMPLE_RATE_HZ)
        long = [k for k, waveform in enumerate(waveforms) if len(waveform) >= shortest]
        if not long:
            raise TalkheadError(f"{data} has no training recording of at least {_SHORTEST_S:g} s")
        self.samples = EmotionSamples(
            [waveforms[k] for k in long], [train[k] for k in long], config, seed
        )
        self._test = [(one, read_recording(one)) for one in test]
        self._last: tuple[Tensor, Tensor] | None = None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = EmotionClassifier(**model_config)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the cross-entropy on masked and mixed spectra."""
        assert isinstance(model, EmotionClassifier)
        mel, is_sound = model.spectrogram(batch["waveform"], batch["length"])
        mel = mask_spectrum(mel, self._config.num_masks, generator)
        target = functional.one_hot(batch["label"], len(VOICE_LABELS)).float()
        smoothing = self._config.smoothing
        target = target * (1 - smoothing) + smoothing / len(VOICE_LABELS)
        if float(torch.rand((), generator=generator)) < self._config.mixed_share:
            order = torch.randperm(len(mel), generator=generator).to(mel.device)
            share = 0.5 + 0.5 * float(torch.rand((), generator=generator))
            mel = share * mel + (1 - share) * mel[order]
            is_sound = is_sound | is_sound[order]
            target = share * target + (1 - share) * target[order]
        with dropout_from(generator):
            logits = model.classify(mel, is_sound).float()
        return {"loss": -(target * logits.log_softmax(-1)).sum(-1).mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Score speakers who are not in the training set.

        Returns:
            Per corpus, accuracy and unweighted recall over the corpus's own labels. Also, for every
            second speaker, the calibration error before and after applying a temperature fitted to
            the other speakers.
        """
        assert isinstance(model, EmotionClassifier)
        self._last = logits, labels = self._logits(model)
        # Fitting and scoring on the same speakers would look too good.
        people = sorted({one.person for one, _ in self._test})
        fitted = torch.tensor([people.index(one.person) % 2 == 0 for one, _ in self._test])
        own = fit_temperature(logits[fitted], labels[fitted])
        rest, truth = logits[~fitted], labels[~fitted]
        scores = {
            "calibration_error_raw": calibration_error(rest.softmax(-1), truth),
            "calibration_error": calibration_error((rest / own).softmax(-1), truth),
        }
        for corpus, matrix in self.confusions(model).items():
            right, count = np.diag(matrix), matrix.sum(1)
            scores[f"{corpus}_accuracy"] = float(right.sum() / count.sum())
            scores[f"{corpus}_recall"] = float((right[count > 0] / count[count > 0]).mean())
        return scores

    def confusions(self, model: EmotionClassifier) -> dict[str, Integers]:
        """Return the confusion matrices of held-out speakers, over each corpus's own labels.

        After `validate`, they describe the network that it scored.

        Returns:
            Per corpus, int64 (labels, labels); rows are true labels, columns are predictions.
        """
        logits, labels = self._last or self._logits(model)
        found = {}
        for corpus in CORPORA:
            own = [k for k, (one, _) in enumerate(self._test) if one.corpus == corpus]
            if own:
                allowed = [label in labels_of(corpus) for label in VOICE_LABELS]
                part = logits[own].masked_fill(~torch.tensor(allowed), -torch.inf)
                matrix = np.zeros((len(VOICE_LABELS), len(VOICE_LABELS)), np.int64)
                np.add.at(matrix, (labels[own].numpy(), part.argmax(-1).numpy()), 1)
                found[corpus] = matrix
        return found

    @torch.no_grad()
    def _logits(self, model: EmotionClassifier) -> tuple[Tensor, Tensor]:
        device = model.temperature.device
        rows = []
        for _, samples in self._test:
            waveform = torch.zeros(max(len(samples), MIN_SAMPLES))
            waveform[: len(samples)] = torch.from_numpy(samples.astype(np.float32) / 32768)
            with torch.autocast(device.type, enabled=False):
                rows.append(model(waveform[None].to(device))[0].float().cpu())
        return torch.stack(rows), torch.tensor(
            [VOICE_LABELS.index(one.label) for one, _ in self._test]
        )

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return the confusion matrices side by side; brighter is more."""
        assert isinstance(model, EmotionClassifier)
        cells = []
        for matrix in self.confusions(model).values():
            share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
            cells.append(np.pad((255 * share).astype(np.uint8), 1, constant_values=40))
        picture = Image.fromarray(np.concatenate(cells, 1))
        size = picture.width * _CELL, picture.height * _CELL
        return np.array(picture.resize(size, Image.Resampling.NEAREST).convert("RGB"))

    def save(self, run: Path, model: nn.Module) -> None:
        """Fit the temperature on held-out speakers; write the checkpoint and the confusions."""
        assert isinstance(model, EmotionClassifier)
        logits, labels = self._last or self._logits(model)
        model.temperature.fill_(fit_temperature(logits, labels))
        model.save_pretrained(run / CHECKPOINT, dtype=torch.float16)
        with replacing(run / CHECKPOINT / CONFUSIONS) as partial:
            partial.write_text(self._confusions_as_csv(model), encoding="utf-8")

    def _confusions_as_csv(self, model: EmotionClassifier) -> str:
        lines = [f"corpus,is,{','.join(VOICE_LABELS)}"]
        for corpus, matrix in self.confusions(model).items():
            rows = zip(VOICE_LABELS, matrix.tolist(), strict=True)
            lines += [f"{corpus},{label},{','.join(map(str, row))}" for label, row in rows]
        return "\n".join(lines) + "\n"


def mask_spectrum(mel: Tensor, num_masks: int, generator: torch.Generator) -> Tensor:
    """Set frequency bands and time spans of log-mel bins (B, T, M) to zero, their mean.

    Source: Park et al., "SpecAugment" (2019). Bands span up to 1/5 of the bins, time spans up to
    1/6 of the frames.
    """
    count, steps, bins = mel.shape
    keep = torch.ones(count, steps, bins, dtype=torch.bool)
    for _ in range(num_masks):
        for size, dim, most in ((bins, 2, bins // 5), (steps, 1, steps // 6)):
            width = torch.randint(0, most + 1, (count, 1), generator=generator)
            start = (torch.rand(count, 1, generator=generator) * (size - width)).long()
            at = torch.arange(size)
            is_masked = (at >= start) & (at < start + width)
            keep &= ~(is_masked[:, :, None] if dim == 1 else is_masked[:, None])
    return mel * keep.to(mel.device)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the divisor of logits (N, C) that maximises their likelihood, from 0.25 to 4.

    Source: Guo et al., "On calibration of modern neural networks" (2017).
    """
    candidates = torch.logspace(-2, 2, 161, base=2)
    losses = [float(functional.cross_entropy(logits / t, labels)) for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def calibration_error(probabilities: Tensor, labels: Tensor, num_bins: int = 10) -> float:
    """Return the expected calibration error, the gap between confidence and accuracy, 0 to 1."""
    confidence, guess = probabilities.max(-1)
    right = (guess == labels).float()
    place = (confidence * num_bins).long().clamp(max=num_bins - 1)
    error = 0.0
    for number in range(num_bins):
        of = place == number
        if bool(of.any()):
            gap = float(right[of].mean() - confidence[of].mean())
            error += abs(gap) * float(of.float().mean())
    return error
