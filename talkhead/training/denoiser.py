"""Task `denoiser`: warp a frame to the landmarks of another and correct the result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.data.clips import Clip
from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.conditioning import NUM_MAPS
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.region import LATENT_PX
from talkhead.landmarks2video.renderer import correct
from talkhead.landmarks2video.sampling import SamplerOptions, default_scheduler
from talkhead.networks import to_channels_last
from talkhead.training.config import CHECKPOINT
from talkhead.training.diffusion import diffusion_loss, draw_timesteps
from talkhead.training.discriminator import (
    CONDITION_CHANNELS,
    PatchDiscriminator,
    adversarial_losses,
)
from talkhead.training.pairs import (
    MAP_RATIO,
    PATCH_PX,
    DenoiserSamples,
    DenoiserTaskConfig,
    pair,
)
from talkhead.training.registration import fit_registration, other_frame
from talkhead.training.samples import Batch, ClipBank

NUM_MEASURED_PAIRS = 96
"""Pairs used to measure the scale of the residuals."""


class TrainModule(nn.Module):
    """The denoiser, plus the discriminator, which is only used during training."""

    def __init__(self, model_config: Mapping[str, Any], *, has_discriminator: bool) -> None:
        super().__init__()
        self.denoiser = Denoiser(**model_config)
        self.discriminator = PatchDiscriminator(CONDITION_CHANNELS) if has_discriminator else None


def _patches(images: Tensor, corners: Tensor, scale: float = 1.0) -> Tensor:
    """Cut the mouth patches from lower faces, (B, C, 160 scale, 192 scale)."""
    height, width = (round(side * scale) for side in PATCH_PX)
    starts = (corners * scale).round().long().tolist()
    cut = [
        image[:, y : y + height, x : x + width]
        for image, (y, x) in zip(images, starts, strict=True)
    ]
    return torch.stack(cut)


class DenoiserTask:
    """Training of the residual latent denoiser.

    Args:
        data: prepared folder.
        model_config: arguments of the network; a `residual_scale` of 0 is measured on the training
            clips.
        config: task settings.
        seed: seed for the samples and the initial weights.
        autoencoder: checkpoint folder.
        initial: checkpoint folder of a denoiser to start from.

    Raises:
        TalkheadError: the sizes do not fit the autoencoder or the maps, or the data has no clips.
        WeightsError: a checkpoint is missing or corrupt, or the initial one has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: Mapping[str, Any],
        config: DenoiserTaskConfig,
        seed: int,
        autoencoder: Path,
        initial: Path | None = None,
    ) -> None:
        train, unseen, _ = split_rows(data)
        self._config = config
        self._scheduler = default_scheduler()
        self.autoencoder = Autoencoder.from_pretrained(autoencoder).requires_grad_(False)
        to_channels_last(self.autoencoder)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: TrainModule = TrainModule(
                model_config, has_discriminator=config.adversarial_weight > 0
            )
        to_channels_last(self.model)
        denoiser = self.model.denoiser
        _check_sizes(denoiser, self.autoencoder)
        if initial is not None:
            denoiser.load_alike(initial)
        bank = ClipBank(data, train)
        if initial is not None:
            self.registration = denoiser.registration()
        else:
            self.registration = fit_registration(
                bank, denoiser.config.registration_components, config.registration_pairs, seed
            )
            denoiser.registration_basis.copy_(torch.from_numpy(self.registration.components))
            denoiser.registration_weights.copy_(torch.from_numpy(self.registration.weights))
        self.samples = DenoiserSamples(bank, self.registration, config, seed)
        if denoiser.config.residual_scale == 0:
            denoiser.register_to_config(residual_scale=self._measure_residuals(seed))
        self._validation = [
            self._validation_pairs(clip, k)
            for k, clip in enumerate(ClipBank(data, unseen or train).clips)
        ]

    def _measure_residuals(self, seed: int) -> float:
        """Return the standard deviation of the latent residuals, weighted like the loss."""
        squares = weights = 0.0
        for index in range(NUM_MEASURED_PAIRS):
            sample = self.samples.sample(2**40 + seed + index)
            target, warped, weight = (
                torch.from_numpy(sample[key])[None] for key in ("target", "warped", "weight")
            )
            residual = self.encode(target) - self.encode(warped)
            squares += float((residual.square() * weight).mean())
            weights += float(weight.mean())
        return round(math.sqrt(squares / weights), 4)

    def _validation_pairs(self, clip: Clip, seed: int) -> dict[str, Tensor]:
        """Return evenly spaced frames of a clip, each paired with a random identity frame."""
        rng = np.random.default_rng(seed)
        pairs = []
        for target in np.linspace(0, len(clip) - 1, self._config.validation_frames).astype(int):
            first = other_frame(len(clip), int(target), rng)
            two = clip.frame(first), clip.frame(target)
            meshes = clip.landmarks[[first, target]]
            pairs.append(pair(two, meshes, self.registration, self._config, scored=True))
        return {key: torch.from_numpy(np.stack([p[key] for p in pairs])) for key in pairs[0]}

    def encode(self, image: Tensor) -> Tensor:
        """Encode pixels, (B, 3, H, W), without gradients."""
        self.autoencoder.to(image.device)
        with torch.no_grad():
            return self.autoencoder.encode(
                image.contiguous(memory_format=torch.channels_last)
            ).float()

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted velocity error, the share left at time 1, and the mouth losses."""
        assert isinstance(model, TrainModule)
        count = len(batch["target"])
        both = self.encode(torch.cat([batch["target"], batch["warped"]]))
        target, warped = both[:count], both[count:]
        timesteps = draw_timesteps(count, self._config.end_share, generator, self._scheduler)
        known = {"target": target, "warped": warped} | {k: batch[k] for k in ("maps", "weight")}
        losses, left, estimate = residual_losses(
            model.denoiser, self._scheduler, known, timesteps, self._config, generator
        )
        values = {"loss": losses.mean(), "left": left}
        if model.discriminator is not None:
            latents = warped + model.denoiser.config.residual_scale * estimate
            mouth = self._mouth_losses(model.discriminator, latents, batch)
            values["loss"] = (
                values["loss"]
                + self._config.pixel_weight * mouth["pixel"]
                + self._config.feature_weight * mouth["feature"]
                + self._config.adversarial_weight * mouth["adversarial"]
                + mouth["discriminator"]
            )
            values.update(mouth)
        return values

    def _mouth_losses(
        self, discriminator: PatchDiscriminator, latents: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Decode latents, and compare the mouths with the filmed ones."""
        decoded = self.autoencoder.decode(latents.contiguous(memory_format=torch.channels_last))
        restored = decoded + self.autoencoder.lost_detail(batch["warped"])
        corners = batch["corner"]
        generated, real, warped = (
            _patches(image, corners) for image in (restored, batch["target"], batch["warped"])
        )
        maps = _patches(batch["maps"], corners, MAP_RATIO)
        return adversarial_losses(discriminator, generated, real, warped, maps)

    def reconstruct(self, model: Denoiser, batch: Batch, num_steps: int, seed: int = 0) -> Tensor:
        """Sample the lower faces of a batch, (B, 3, 160, 192) in [-1, 1]."""
        image = batch["warped"]
        channels, (height, width) = model.config.latent_channels, image.shape[-2:]
        generator = torch.Generator().manual_seed(seed)
        shape = (1, channels, height // LATENT_PX, width // LATENT_PX)
        epsilon = torch.randn(shape, generator=generator).to(image)
        self.autoencoder.to(image.device)
        options = SamplerOptions(num_steps)
        return correct(
            self.autoencoder, model, self._scheduler, image, batch["maps"], epsilon, options
        )

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return lower-face PSNR on people not in training: warped, denoised in 1 and 4 steps."""
        assert isinstance(model, TrainModule)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation:
            batch = {key: value.to(device) for key, value in clip.items()}
            row = {
                "warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mask"]),
                "mouth_warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mouth"]),
            }
            for steps, name in ((1, "psnr"), (4, "psnr_4_steps")):
                generated = self.reconstruct(model.denoiser, batch, steps)
                row[name] = _masked_psnr(generated, batch["target"], batch["mask"])
                if steps == 1:
                    row["mouth_psnr"] = _masked_psnr(generated, batch["target"], batch["mouth"])
            row["gain"] = row["worst_gain"] = row["psnr"] - row["warp_psnr"]
            rows.append(row)
        scores = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        scores["worst_gain"] = min(row["worst_gain"] for row in rows)
        return scores

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of the warp, the results of one step and of four, and the truth."""
        assert isinstance(model, TrainModule)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation[:10]:
            batch = {key: value[-2:].to(device) for key, value in clip.items()}
            generated = [self.reconstruct(model.denoiser, batch, steps) for steps in (1, 4)]
            images = [batch["warped"], *generated, batch["target"]]
            cells = [((i.float() + 1) * 127.5).round().clamp(0, 255).byte() for i in images]
            row = torch.cat([c[k] for k in range(len(cells[0])) for c in cells], -1)
            rows.append(row.permute(1, 2, 0).cpu().numpy())
        return np.asarray(np.concatenate(rows, 0), np.uint8)

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the denoiser's checkpoint folder."""
        assert isinstance(model, TrainModule)
        model.denoiser.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


def residual_losses(
    denoiser: Denoiser,
    scheduler: Any,
    batch: Batch,
    timesteps: Tensor,
    config: DenoiserTaskConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how wrong the denoiser is about pairs.

    Args:
        denoiser: the network.
        scheduler: a scheduler of diffusers.
        batch: `target` and `warped`, latents (B, C, 20, 24), and `maps` and `weight` of `pair`.
        timesteps: int64 (B,).
        config: weights of the loss.
        generator: source of the noise.

    Returns:
        The weighted velocity errors (B,), the share of the warps' error that is left at time 1
        (below 1, the network beats the warp), and the estimates of the scaled residuals.
    """
    warped = batch["warped"]
    clean = (batch["target"] - warped) / denoiser.config.residual_scale
    timesteps = timesteps.to(clean.device)
    epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
    weight = batch["weight"]
    # A pair that the warp gets nearly right has a small error, but viewers still see all of it.
    # Measure errors relative to what there was to correct.
    energy = (clean.square() * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    weight = weight * (0.2 / (energy + config.energy_floor))[:, None, None, None]

    def denoise(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = denoiser(noisy, time, warped, batch["maps"])
        return velocity

    losses, estimate = diffusion_loss(denoise, scheduler, clean, timesteps, epsilon, weight)
    at_end = timesteps == scheduler.config.num_train_timesteps - 1
    nothing = (clean.square() * weight).mean((1, 2, 3))
    left = (losses * at_end).sum() / (nothing * at_end).sum().clamp(min=1e-6)
    return losses, left, estimate


def _check_sizes(denoiser: Denoiser, autoencoder: Autoencoder) -> None:
    found = denoiser.config
    for name, value, wanted in (
        ("latent_channels", found.latent_channels, autoencoder.config.latent_channels),
        ("map_channels", found.map_channels or NUM_MAPS, NUM_MAPS),
    ):
        if value != wanted:
            raise TalkheadError(f"{name} of the denoiser is {value}, but must be {wanted}")


def _masked_psnr(generated: Tensor, target: Tensor, mask: Tensor) -> float:
    """Return the mean PSNR over frames under a mask, for images in [-1, 1] rounded to 8 bits."""
    mask = functional.interpolate(mask.float(), scale_factor=2.0, mode="nearest")
    a, b = (((x.float() + 1) * 127.5).round().clamp(0, 255) for x in (generated, target))
    error = ((a - b).square() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))).clamp(min=1)
    psnr = 10 * torch.log10(255**2 / error.clamp(min=255**2 * 1e-10))
    return float(psnr.mean())
