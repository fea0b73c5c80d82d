"""Task `video-denoiser`: predict windows of frames from an identity under mask-noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks.expressions import Expressions
from talkhead.data.clips import Clip, ClipInfo
from talkhead.data.selection import split_rows
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.errors import TalkheadError
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.mask import mask_noise
from talkhead.landmarks2video.mask_noise.renderer import generate_window
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.sampling import (
    SamplerOptions,
    default_scheduler,
    linear_scheduler,
)
from talkhead.networks import public_config
from talkhead.training.config import CHECKPOINT
from talkhead.training.diffusion import draw_timesteps, network_time
from talkhead.training.fit_expressions import fit_expressions
from talkhead.training.registration import fit_registration
from talkhead.training.samples import Batch, ClipBank, Sample
from talkhead.training.video_samples import VideoDenoiserTaskConfig, VideoSamples, window_sample

Floats = npt.NDArray[np.float32]

EXPRESSIONS = "expressions"
"""Folder of the expressions in a run folder."""
ENERGY_FLOOR = 0.1
"""Added to a window's residual energy, which divides its loss: small ones must not dominate."""
_SCORED_CLIPS = 8
"""Maximum number of held-out clips per category."""


class VideoDenoiserTask:
    """Training of the video denoiser.

    Args:
        data: prepared folder.
        model_config: arguments of the network; a `residual_scale` of 0 is measured on the training
            clips.
        config: task settings.
        seed: seed for the samples and the initial weights.
        initial: checkpoint folder to start from.
        registration: checkpoint folder of a denoiser whose registration to use.
        expressions: folder of expressions to keep.

    Raises:
        TalkheadError: the data has no matching clips, or the registration has another size.
        WeightsError: the checkpoint to start from is missing, corrupt, or has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: Mapping[str, Any],
        config: VideoDenoiserTaskConfig,
        seed: int,
        initial: Path | None = None,
        registration: Path | None = None,
        expressions: Path | None = None,
    ) -> None:
        train, unseen, seen = (
            [row for row in rows if not config.people or row.person in config.people]
            for rows in split_rows(data)
        )
        self._config = config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = VideoDenoiser(**model_config)
        self._diffuses_frames = self.model.config.diffuses == "frames"
        self._scheduler = (
            linear_scheduler() if self._diffuses_frames else default_scheduler("sample")
        )
        stored = None if expressions is None else Expressions.from_pretrained(expressions)
        fitted: Registration | None = None
        if initial is not None:
            self._load(initial)
        elif registration is not None:
            fitted = _read_registration(registration, self.model)
        bank = ClipBank(data, train, person_power=config.person_power)
        if initial is None:
            fitted = fitted or fit_registration(
                bank, self.model.config.registration_components, config.registration_pairs, seed
            )
            self.model.registration_basis.copy_(torch.from_numpy(fitted.components))
            self.model.registration_weights.copy_(torch.from_numpy(fitted.weights))
        self.registration = fitted or self.model.registration()
        self.expressions = stored or fit_expressions(bank.rows, bank.clips)
        self.samples = VideoSamples(
            bank,
            public_config(self.model),
            self.registration,
            config,
            self.expressions,
            seed,
        )
        if self.model.config.residual_scale == 0 and not self._diffuses_frames:
            self.model.register_to_config(residual_scale=self._measure_residuals())
        for row in bank.rows:
            self.expressions.known[EMOTIONS.index(row.emotion or NEUTRAL)] = 1
        self._banks = {
            name: ClipBank(data, spread(rows))
            for name, rows in (("unseen", unseen), ("seen", seen))
            if rows
        }

    def _load(self, initial: Path) -> None:
        """Load the weights of a checkpoint, and the scale of the residuals unless it is given."""
        if self.model.config.residual_scale == 0:
            stored = VideoDenoiser.read_config(initial)
            self.model.register_to_config(residual_scale=stored.get("residual_scale", 0.0))
        fresh = self.model.emotion.weight.detach().clone()
        self.model.load_alike(initial)
        if self._config.fresh_emotion:
            with torch.no_grad():
                self.model.emotion.weight.copy_(fresh)

    def _measure_residuals(self) -> float:
        """Return the standard deviation of the difference between target and base."""
        squares = weights = 0.0
        for index in range(16):
            sample = self.samples.sample(index)
            weight = np.broadcast_to(sample["weight"], sample["target"].shape)
            squares += float((np.square(sample["target"] - sample["base"]) * weight).sum())
            weights += float(weight.sum())
        return round(float(np.sqrt(squares / weights)), 4)

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted mean squared error of the clean residual, or of the noise."""
        assert isinstance(model, VideoDenoiser)
        base = batch["base"]
        count, device = len(base), base.device
        noise = torch.rand(count, 1, *base.shape[2:], generator=generator).to(device) * 2 - 1
        masked = mask_noise(
            base.flatten(0, 1),
            batch["points"].flatten(0, 1),
            noise.expand_as(base).flatten(0, 1),
            model.mask,
        ).view_as(base)
        is_kept = torch.rand(count, 1, generator=generator) >= self._config.drop_emotion
        emotion = batch["emotion"] * is_kept.to(device)
        if self._diffuses_frames:
            return self._noise_loss(model, batch, masked, emotion, generator)
        # All frames of a window start from the same noise, as in sampling.
        epsilon = torch.randn(count, 1, *base.shape[2:], generator=generator).to(device)
        timesteps = draw_timesteps(count, self._config.end_share, generator, self._scheduler)
        timesteps = timesteps.to(device)
        clean = (batch["target"] - base) / model.config.residual_scale
        # Sampling starts from zeros, not from the truth.
        from_start = torch.rand(count, generator=generator).to(device) < self._config.start_share
        below = torch.where(from_start.view(-1, 1, 1, 1, 1), 0.0, clean)
        noisy = self._scheduler.add_noise(below, epsilon.expand_as(base), timesteps)
        time = network_time(timesteps, self._scheduler)
        predicted = model(noisy, time, masked, base, emotion).float()
        error = ((predicted - clean).square() * batch["weight"]).mean((1, 2, 3, 4))
        energy = (clean.square() * batch["weight"]).mean((1, 2, 3, 4))
        # Otherwise a few windows with large head turns would dominate.
        return {"loss": (error / (energy + ENERGY_FLOOR)).mean(), "error": error.mean()}

    def _noise_loss(
        self,
        model: VideoDenoiser,
        batch: Batch,
        masked: Tensor,
        emotion: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the weighted mean squared error of the noise in the true frames."""
        target = batch["target"]
        count, device = len(target), target.device
        epsilon = torch.randn(target.shape, generator=generator).to(device)
        share = self._config.end_share
        timesteps = draw_timesteps(count, share, generator, self._scheduler).to(device)
        noisy = self._scheduler.add_noise(target, epsilon, timesteps)
        time = network_time(timesteps, self._scheduler)
        predicted = model(noisy, time, masked, batch["base"], emotion).float()
        return {"loss": ((predicted - epsilon).square() * batch["weight"]).mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Generate windows of held-out clips from their first frame.

        Returns:
            Mean PSNR in decibels, for unseen people and for unseen clips of people in the training
            set: of the base and of the generated frames, over the whole crop and around the mouth.
        """
        assert isinstance(model, VideoDenoiser)
        scores: dict[str, float] = {}
        for name, bank in self._banks.items():
            found: dict[str, list[float]] = {}
            for row, clip in zip(bank.rows, bank.clips, strict=True):
                windows = self._config.validation_windows
                last = max(len(clip) - model.config.num_frames, 0)
                for start in np.linspace(0, last, windows).round().astype(int):
                    sample = self._window(model, clip, row, int(start))
                    generated = self._generate(model, sample)
                    for key, value in _psnr(sample, generated).items():
                        found.setdefault(key, []).append(value)
            scores |= {f"{name}_{key}": float(np.mean(values)) for key, values in found.items()}
        return scores

    def _window(self, model: VideoDenoiser, clip: Clip, row: ClipInfo, start: int) -> Sample:
        """Return a window of a clip to score, with the first frame as the identity."""
        numbers = range(start, start + model.config.num_frames)
        return window_sample(
            public_config(model),
            self.registration,
            self._config,
            clip,
            row,
            0,
            numbers,
            scored=True,
        )

    def _generate(self, model: VideoDenoiser, sample: Sample) -> Floats:
        device = model.registration_basis.device
        generator = torch.Generator().manual_seed(0)
        shape = sample["base"].shape[1:]
        generated = generate_window(
            model,
            self._scheduler,
            torch.from_numpy(sample["base"]).to(device),
            torch.from_numpy(sample["points"]).to(device),
            torch.from_numpy(sample["emotion"]).to(device),
            noise=(torch.rand(shape, generator=generator) * 2 - 1).to(device),
            epsilon=torch.randn(shape, generator=generator).to(device),
            options=SamplerOptions(
                num_steps=self._config.validation_steps, start_step=self._config.start_step
            ),
        )
        return generated.float().clamp(-1, 1).cpu().numpy()

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of true, base and generated frames of held-out clips."""
        assert isinstance(model, VideoDenoiser)
        rows = []
        for bank in self._banks.values():
            for row, clip in list(zip(bank.rows, bank.clips, strict=True))[:3]:
                sample = self._window(model, clip, row, len(clip) // 2)
                generated = self._generate(model, sample)
                for frames in (sample["target"], sample["base"], generated):
                    chosen = frames[:: max(len(frames) // 6, 1)][:6]
                    rows.append(np.concatenate(list(chosen), -1))
        if not rows:
            return None
        picture = ((np.concatenate(rows, 1) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(picture.transpose(1, 2, 0))

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the checkpoint folder, and the expressions beside it."""
        assert isinstance(model, VideoDenoiser)
        self.expressions.save_pretrained(run / EXPRESSIONS, dtype=torch.float16)
        model.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


def _read_registration(checkpoint: Path, model: VideoDenoiser) -> Registration:
    found = Denoiser.from_pretrained(checkpoint).registration()
    wanted = model.config.registration_components
    if len(found.components) != wanted:
        raise TalkheadError(
            f"the registration of {checkpoint} has {len(found.components)} components, but"
            f" {wanted} are needed"
        )
    return found


def spread(rows: Sequence[ClipInfo], count: int = _SCORED_CLIPS) -> list[ClipInfo]:
    """Choose manifest lines, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _psnr(sample: Sample, generated: Floats) -> dict[str, float]:
    """Return the PSNR values of a window, in decibels."""
    truth = sample["target"]
    mouth = np.broadcast_to(sample["mouth"] > 0.5, truth.shape)
    found = {}
    for name, frames in (("base", sample["base"]), ("generated", generated)):
        error = np.square((frames - truth) / 2)
        found[f"{name}_psnr"] = -10 * float(np.log10(error.mean() + 1e-10))
        if mouth.any():
            found[f"{name}_mouth_psnr"] = -10 * float(np.log10(error[mouth].mean() + 1e-10))
    return found
