"""Distillation of the task `landmarks`: a generator with a larger encoder teaches a small one.

The teacher hears the undisturbed sound. Its features, in clusters, are what the small generator
learns to tell from the disturbed sound; where no video shows the lips, it also learns the teacher's
motion. So recordings without any video teach, too: other voices and languages than the clips'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import TalkheadError
from talkhead.training.landmark_loss import mouth_directions

Floats = npt.NDArray[np.float32]


class Taught(NamedTuple):
    """What the teacher makes of a sound."""

    features: Tensor
    """(B, T, D), of its encoder."""
    motion: Tensor
    """(B, F, K), coefficients of the motion basis."""
    mouth: Tensor
    """(B, F, 2), opening and width of that motion."""


class Teacher:
    """A frozen landmark generator.

    Args:
        folder: its checkpoint.
        pupil: the generator to teach.

    Raises:
        TalkheadError: the two have different motion bases or feature rates.
        WeightsError: the checkpoint is missing or corrupt.
    """

    def __init__(self, folder: Path, pupil: LandmarkGenerator) -> None:
        self.generator = LandmarkGenerator.from_pretrained(folder).requires_grad_(False)
        ours, theirs = pupil.components, self.generator.components
        if ours.shape != theirs.shape or not torch.equal(ours, theirs):
            raise TalkheadError(
                f"{folder} has another motion basis than the generator it is to teach: train it"
                " with [task] basis"
            )
        encoders = pupil.speech, self.generator.speech
        rates = [(one.hop_samples, one.field_samples) for one in encoders]
        if rates[0] != rates[1]:
            raise TalkheadError(f"{folder} has another feature rate than the generator's encoder")

    @torch.no_grad()
    def features(self, waveforms: Sequence[Floats]) -> Tensor:
        """Return the features of sounds of one length, (N,) each, (B, T, D)."""
        encode = self.generator.speech
        return torch.cat([encode(torch.from_numpy(one)[None])[0] for one in waveforms])

    @torch.no_grad()
    def teach(self, waveform: Tensor, positions: Tensor, style: Tensor, shape: Tensor) -> Taught:
        """Return what the teacher makes of a sound.

        Args:
            waveform: (B, N), undisturbed.
            positions: as for `LandmarkGenerator.forward`, like the rest.
            style: (B, 4).
            shape: (B, 4).
        """
        teacher = self.generator.to(waveform.device)
        features, _, level = teacher.speech(waveform)
        motion = teacher.animate(waveform, features, level, positions, style, shape)
        mouth = [motion @ direction for direction in mouth_directions(teacher.components)]
        return Taught(features, motion, torch.stack(mouth, -1))


class UnitHead(nn.Module):
    """Predicts the *unit* of each of the teacher's features: the cluster that it lies in.

    Each sound's mean is removed first, so that units tell what is said, not by whom. They are
    learnt much faster than the features themselves.

    Source: Hsu et al., "HuBERT: self-supervised speech representation learning by masked prediction
    of hidden units" (2021).

    Args:
        pupil: the generator whose features are read.
        taught: the teacher's features of some sounds, (B, T, D).
        num_units: number of clusters.
        seed: seed for the clusters; the initial weights come from torch's generator.
    """

    centres: Tensor
    spread: Tensor

    def __init__(self, pupil: LandmarkGenerator, taught: Tensor, num_units: int, seed: int) -> None:
        super().__init__()
        self.out = nn.Linear(int(pupil.speech.config.hidden_size), num_units)
        around = taught - taught.mean(1, keepdim=True)
        self.register_buffer("spread", around.flatten(0, 1).std(0) + 1e-6)
        points = (around / self.spread).flatten(0, 1).numpy()
        rng = np.random.default_rng([seed, 2])
        centres, _ = kmeans2(points, num_units, minit="++", seed=rng)
        self.register_buffer("centres", torch.from_numpy(centres).float())

    def units(self, taught: Tensor) -> Tensor:
        """Return the unit of each of the teacher's features, (B, T, D) to (B, T)."""
        points = (taught - taught.mean(1, keepdim=True)) / self.spread
        # The squared distances, less the points' own squares.
        distances = self.centres.square().sum(1) - 2 * points @ self.centres.T
        return distances.argmin(-1)

    def forward(self, features: Tensor, taught: Tensor, weight: Tensor) -> Tensor:
        """Return the mean cross-entropy, ().

        Args:
            features: (B, T, size), of the pupil.
            taught: (B, T, D), of the teacher.
            weight: (B,), 1 for samples that count.
        """
        logits = self.out(features).float().transpose(1, 2)
        error = functional.cross_entropy(logits, self.units(taught), reduction="none")
        return (error.mean(1) * weight).sum() / weight.sum().clamp(min=1)
