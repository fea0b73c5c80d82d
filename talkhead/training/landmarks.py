"""Task `landmarks`: waveform to face motion; trains the speech encoder and LSTM jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.audio2landmarks.audio2motion import LEAD_S
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_features import (
    FIELD_SAMPLES,
    HOP_SAMPLES,
    LogMel,
    resample_features,
)
from talkhead.data.clips import ClipInfo
from talkhead.data.selection import is_scored, split_rows, teaches_lips
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media.rates import DEFAULT_FPS
from talkhead.networks import check_alike, public_config
from talkhead.training.config import CHECKPOINT
from talkhead.training.encoders import load_encoder
from talkhead.training.fit_head_motion import fit_head_style
from talkhead.training.landmark_loss import motion_losses
from talkhead.training.landmark_samples import (
    LandmarkSamples,
    LandmarksTaskConfig,
    TalkingClip,
    fit_basis,
    standardise_styles,
    talking_clips,
)
from talkhead.training.landmark_validation import draw_curves, score_clip
from talkhead.training.loop import dropout_from
from talkhead.training.recordings import read_recordings
from talkhead.training.samples import Batch, ClipBank
from talkhead.training.teacher import Teacher, UnitHead

Floats = npt.NDArray[np.float32]

NUM_MEL = 80
NUM_UNIT_SAMPLES = 300
CLEAR_STYLE = (0.0, 0.7, 0.0, 0.7)
"""Default style, in standard deviations: a mouth of average width, but livelier than average."""


class TrainModule(nn.Module):
    """The generator, plus the heads of auxiliary tasks, which are only used during training."""

    def __init__(self, model_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.unit_head: UnitHead | None = None
        self.generator = LandmarkGenerator(**model_config)
        self.mel_head = nn.Linear(self.generator.speech.conv_size, NUM_MEL)
        self.spectrum = LogMel(NUM_MEL)

    def mel_of(self, waveform: Tensor) -> Tensor:
        """Return the log-mel spectrum at the middle of each feature, (B, N) to (B, T, 80)."""
        encoder, spectrum = self.generator.speech, self.spectrum(waveform)
        count = (waveform.shape[1] - encoder.field_samples) // encoder.hop_samples + 1
        starts = torch.arange(count, device=waveform.device) * encoder.hop_samples
        positions = (starts + (encoder.field_samples - FIELD_SAMPLES) / 2) / HOP_SAMPLES
        return resample_features(spectrum, positions.expand(len(waveform), -1))


@dataclass(frozen=True)
class LandmarksPaths:
    """The folders that the table [task] names; None for those that it leaves out."""

    initial: Path | None = None
    speech: Path | None = None
    dual: Path | None = None
    basis: Path | None = None
    teacher: Path | None = None
    recordings: Path | None = None


NO_PATHS = LandmarksPaths()


class LandmarksTask:
    """Training of the landmark generator, its speech encoder and the motion basis.

    Args:
        data: prepared folder.
        model_config: arguments of the network.
        config: task settings.
        seed: seed for the samples and the initial weights.
        paths: what to start and to learn from; see `LandmarksTaskConfig`.

    Raises:
        TalkheadError: no clip has usable sound, the clips have another frame rate, `dual` is given
            without `initial`, `basis` with it, `recordings` without `teacher`, or the teacher does
            not fit.
        WeightsError: a checkpoint to start from is missing, corrupt, or has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: Mapping[str, Any],
        config: LandmarksTaskConfig,
        seed: int,
        paths: LandmarksPaths = NO_PATHS,
    ) -> None:
        _check_paths(paths)
        initial = paths.initial
        train, unseen, seen = split_rows(data)
        self._config = config
        self._fps = float(DEFAULT_FPS)
        _check_rates(data, train)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: TrainModule = TrainModule(model_config)
        generator = self.model.generator
        if initial is not None:
            if paths.dual is None:
                generator.load_alike(initial)
            else:
                _join(initial, paths.dual, generator)
        if paths.speech is not None:
            load_encoder(paths.speech, generator.speech)
        rows = [row for row in train if _is_used(row, config)]
        bank = ClipBank(data, rows, frames=False, person_power=config.person_power)
        if paths.basis is not None:
            _copy_basis(paths.basis, generator)
        elif initial is None:
            everyone = ClipBank(data, train, frames=False)
            basis = fit_basis(everyone, generator.config.num_components, seed)
            generator.components.copy_(torch.from_numpy(basis.components))
            generator.blink.copy_(torch.from_numpy(basis.blink))
        self.basis = generator.motion_basis()
        clips = standardise_styles(talking_clips(bank, self.basis, config))
        recordings = [] if paths.recordings is None else read_recordings(paths.recordings)
        self.samples = LandmarkSamples(bank, clips, config, self._fps, seed, recordings)
        if initial is None and paths.basis is None:
            _set_statistics(generator, bank, clips)
        self._teacher: Teacher | None = None
        if paths.teacher is not None:
            self._teacher = Teacher(paths.teacher, generator)
            taught = self._teacher.features(
                [self.samples.sample(index)["undisturbed"] for index in range(NUM_UNIT_SAMPLES)]
            )
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                self.model.unit_head = UnitHead(generator, taught, config.num_units, seed)
        groups = {"unseen": unseen, "seen_person": seen} if unseen or seen else {"train": train}
        scored = {
            name: [row for row in rows if is_scored(row)][: None if name == "unseen" else 24]
            for name, rows in groups.items()
        }
        self._held_out = {
            name: talking_clips(ClipBank(data, rows, frames=False), self.basis, config)
            for name, rows in scored.items()
            if rows
        }

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the total loss and its parts: positions, velocities, mouth and spectrum."""
        assert isinstance(model, TrainModule)
        truth, mouth, waveform = batch["coefficients"], batch["mouth"], batch["waveform"]
        positions = model.generator.frame_positions(truth.shape[1], self._fps, LEAD_S)
        positions = positions.to(truth.device).expand(len(truth), -1)
        person = batch["style"], batch["shape"]
        for part in model.generator.children():
            learns = [parameter.requires_grad for parameter in part.parameters()]
            if learns and not any(learns):
                part.eval()  # frozen parts need no dropout: an encoder works better without it
        with dropout_from(generator):
            features, conv_features, level = model.generator.speech(waveform)
            generated = model.generator.animate(waveform, features, level, positions, *person)
        auxiliary = {}
        total = torch.zeros((), device=truth.device)
        if self._teacher is not None and model.unit_head is not None:
            taught = self._teacher.teach(batch["undisturbed"], positions, *person)
            is_filmed = batch["is_filmed"][:, None, None]
            truth = torch.lerp(taught.motion, truth, is_filmed)
            mouth = torch.lerp(taught.mouth, mouth, is_filmed)
            error = model.unit_head(features, taught.features, batch["is_speech"])
            auxiliary["units"] = error
            total = total + self._config.unit_weight * error
        losses = motion_losses(generated, truth, mouth, model.generator.components, self._config)
        if self._config.mel_weight:
            mel = functional.l1_loss(model.mel_head(conv_features).float(), model.mel_of(waveform))
            auxiliary["mel"] = mel
            total = total + self._config.mel_weight * mel
        return losses | auxiliary | {"loss": losses["loss"] + total}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Score held-out clips; see `score_clip`."""
        assert isinstance(model, TrainModule)
        scores = {}
        for name, clips in self._held_out.items():
            rows = [score_clip(model.generator, clip, self._fps) for clip in clips]
            for key in rows[0]:
                scores[f"{name}_{key}"] = float(np.mean([row[key] for row in rows]))
        return scores

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return curves of the opening: truth in black, generated motion in red."""
        assert isinstance(model, TrainModule)
        clips = [clip for group in self._held_out.values() for clip in group[:6]]
        return draw_curves(model.generator, clips, self._fps)

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the generator's checkpoint folder."""
        assert isinstance(model, TrainModule)
        model.generator.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


def _check_paths(paths: LandmarksPaths) -> None:
    if paths.dual is not None and paths.initial is None:
        raise TalkheadError("[task]: dual needs initial, the LSTM to combine it with")
    if paths.basis is not None and paths.initial is not None:
        raise TalkheadError("[task]: initial has a basis of its own, so basis must be left out")
    if paths.recordings is not None and paths.teacher is None:
        raise TalkheadError("[task]: recordings need a teacher, because no video shows their lips")


def _copy_basis(folder: Path, generator: LandmarkGenerator) -> None:
    """Take the motion basis and the statistics of another generator."""
    stored = dict(LandmarkGenerator.from_pretrained(folder).named_buffers(recurse=False))
    for name, values in generator.named_buffers(recurse=False):
        if values.shape != stored[name].shape:
            raise WeightsError(
                f"{folder} has {name} of shape {tuple(stored[name].shape)}, but"
                f" {tuple(values.shape)} is needed"
            )
        values.copy_(stored[name])


def _set_statistics(
    generator: LandmarkGenerator, bank: ClipBank, clips: Sequence[TalkingClip]
) -> None:
    """Store the head motion, the default style and the proportions of the training clips."""
    style = fit_head_style(bank.clips, bank.rows)
    generator.head.copy_(torch.from_numpy(np.stack([style.slow, style.fast])))
    generator.head_pace.copy_(torch.tensor([style.slow_s, style.fast_s, style.pause]))
    generator.style.copy_(torch.tensor(CLEAR_STYLE))
    people: dict[str, list[Floats]] = {}
    for clip, row in zip(clips, bank.rows, strict=True):
        people.setdefault(row.person, []).append(clip.shape)
    # Count every person once, or people with many clips would make the rest look rare.
    shapes = np.stack([np.mean(found, axis=0) for found in people.values()])
    generator.shape_mean.copy_(torch.from_numpy(shapes.mean(0)))
    generator.shape_spread.copy_(torch.from_numpy(shapes.std(0) + 1e-3))


def _join(initial: Path, dual: Path, generator: LandmarkGenerator) -> None:
    """Load the LSTM of `initial` and the dual-domain part of `dual` into a generator with both."""
    config = public_config(generator)
    if config["dual_share"] is None:
        raise TalkheadError("[task]: dual needs dual_share in [model]")
    state: dict[str, Tensor] = {"shares": generator.shares.detach()}
    for folder, sizes in (
        (dual, config | {"dual_share": None}),
        (initial, config | {"dual_domain": None, "dual_share": None}),  # the rest, with the encoder
    ):
        stored = LandmarkGenerator.from_pretrained(folder)
        found = public_config(stored) | {"dropout": config["dropout"]}  # it may differ
        check_alike(folder, found, sizes)
        state |= stored.state_dict()
    generator.load_state_dict(state)


def _check_rates(data: Path, rows: Sequence[ClipInfo]) -> None:
    rates = {Fraction(row.fps) for row in rows} - {DEFAULT_FPS}
    if rates:
        raise TalkheadError(
            f"{data} was prepared at {min(rates)} fps, but the generator works at"
            f" {DEFAULT_FPS} fps: prepare the videos at that rate"
        )


def _is_used(row: ClipInfo, config: LandmarksTaskConfig) -> bool:
    return row.num_frames > config.window_frames and teaches_lips(row, config.min_agreement)
