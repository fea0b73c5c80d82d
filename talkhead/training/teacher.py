"""Distillation of the task `landmarks`: a generator with a larger encoder teaches a small one.

The teacher hears the undisturbed sound. Its features, and where no video shows the lips also its
motion, are what the small generator learns to give for the disturbed sound. So recordings without
any video teach, too: other voices and languages than the clips'.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.errors import TalkheadError
from talkhead.training.landmark_loss import mouth_directions


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


class FeatureHead(nn.Module):
    """Predicts the teacher's features from the pupil's; both are compared at unit variance."""

    def __init__(self, pupil: LandmarkGenerator, teacher: LandmarkGenerator) -> None:
        super().__init__()
        size, wanted = (int(one.speech.config.hidden_size) for one in (pupil, teacher))
        self.out = nn.Linear(size, wanted)
        self.norm = nn.BatchNorm1d(wanted, affine=False)

    def forward(self, features: Tensor, taught: Tensor, weight: Tensor) -> Tensor:
        """Return the mean absolute error, ().

        Args:
            features: (B, T, size).
            taught: (B, T, teacher size).
            weight: (B,), 1 for samples that count.
        """
        wanted = self.norm(taught.transpose(1, 2)).transpose(1, 2)
        error = functional.l1_loss(self.out(features).float(), wanted, reduction="none")
        return (error.mean((1, 2)) * weight).sum() / weight.sum().clamp(min=1)
