"""Task `denoiser`: warp a frame to the landmarks of another and correct the result."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.data.clips import Clip
from talkhead.data.selection import MIN_AGREEMENT, split_rows, teaches_lips
from talkhead.errors import TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.landmarks2video.autoencoder import Autoencoder, AutoencoderConfig
from talkhead.landmarks2video.conditioning import NUM_MAPS
from talkhead.landmarks2video.denoiser import Denoiser, DenoiserConfig
from talkhead.landmarks2video.diffusion import diffusion_loss, draw_times
from talkhead.landmarks2video.region import (
    LATENT_PX,
)
from talkhead.landmarks2video.registration import registration_of
from talkhead.landmarks2video.renderer import correct
from talkhead.networks import load_alike, load_state, read_config, save_checkpoint
from talkhead.training.discriminator import PatchDiscriminator, judge_loss
from talkhead.training.loop import Batch
from talkhead.training.pairs import (
    MAP_RATIO,
    PATCH_PX,
    DenoiserSamples,
    DenoiserTaskConfig,
    hear,
    pair,
)
from talkhead.training.registration import fit_registration, other_frame
from talkhead.training.samples import (
    ClipBank,
)

Floats = npt.NDArray[np.float32]

JUDGED_PX = 6
"""Margin around the opened mouth in which the discriminator sees the generated image."""
JUDGE_MAPS = (0, 8)
"""Maps given to the discriminator: the mouth opening, and the area that was not visible."""
JUDGE_CHANNELS = 3 + len(JUDGE_MAPS)
NUM_MEASURED_PAIRS = 96
"""Pairs used to measure the scale of the residuals."""


class Trainee(nn.Module):
    """The denoiser, plus the discriminator, which is only used during training."""

    def __init__(self, config: DenoiserConfig, is_judged: bool) -> None:
        super().__init__()
        self.denoiser = Denoiser(config)
        self.discriminator = PatchDiscriminator(JUDGE_CHANNELS) if is_judged else None


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
        model_config: sizes; a `residual_scale` of 0 is measured on the training clips.
        config: task settings.
        seed: seed for the samples and the initial weights.
        autoencoder: checkpoint folder.
        initial: checkpoint folder of a denoiser to start from.
        listener: checkpoint folder of a landmark generator whose speech encoder to use.

    Raises:
        TalkheadError: the sizes do not fit the autoencoder or the maps, or the data has no clips.
        WeightsError: a checkpoint is missing or corrupt, or the initial one has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: DenoiserConfig,
        config: DenoiserTaskConfig,
        seed: int,
        autoencoder: Path,
        initial: Path | None = None,
        listener: Path | None = None,
    ) -> None:
        train, unseen, _ = split_rows(data)
        if config.with_sound:
            train, unseen = (
                [row for row in rows if teaches_lips(row, MIN_AGREEMENT)]
                for rows in (train, unseen)
            )
        self._config = config
        self.autoencoder = Autoencoder(
            read_config(autoencoder, AutoencoderConfig, architecture="autoencoder")
        )
        latent_channels = self.autoencoder.config.latent_channels
        for name, found, wanted in (
            ("latent_channels", model_config.latent_channels, latent_channels),
            ("map_channels", model_config.map_channels or NUM_MAPS, NUM_MAPS),
        ):
            if found != wanted:
                raise TalkheadError(f"{name} of the denoiser is {found}, but must be {wanted}")
        load_state(autoencoder, self.autoencoder)
        self.autoencoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: Trainee = Trainee(model_config, config.adversarial_weight > 0).to(  # type: ignore[call-overload]
                memory_format=torch.channels_last
            )
        denoiser = self.model.denoiser
        bank = ClipBank(data, train)
        if initial is not None:
            load_alike(initial, denoiser, model_config, architecture="denoiser")
            self.registration = registration_of(denoiser)
        else:
            self.registration = fit_registration(
                bank, model_config.registration_components, config.registration_pairs, seed
            )
            denoiser.registration_basis.copy_(torch.from_numpy(self.registration.components))
            denoiser.registration_weights.copy_(torch.from_numpy(self.registration.weights))
        heard = hear(bank, listener, model_config.speech_channels)
        self.samples = DenoiserSamples(bank, self.registration, config, seed, heard)
        if model_config.residual_scale == 0:
            scale = self._measure_residuals(seed)
            denoiser.config = replace(model_config, residual_scale=scale)
        bank = ClipBank(data, unseen or train)
        heard = hear(bank, listener, model_config.speech_channels)
        self._validation = [
            self._validation_pairs(clip, k, None if heard is None else heard[k])
            for k, clip in enumerate(bank.clips)
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

    def _validation_pairs(self, clip: Clip, seed: int, heard: Floats | None) -> dict[str, Tensor]:
        """Return evenly spaced frames of a clip, each paired with a random identity frame."""
        rng = np.random.default_rng(seed)
        pairs = []
        for target in np.linspace(0, len(clip) - 1, self._config.validation_frames).astype(int):
            first = other_frame(len(clip), int(target), rng)
            two = clip.frame(first), clip.frame(target)
            meshes = clip.landmarks[[first, target]]
            said = None if heard is None else heard[target]
            pairs.append(
                pair(two, meshes, self.registration, self._config, scored=True, heard=said)
            )
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
        assert isinstance(model, Trainee)
        config = model.denoiser.config
        count = len(batch["target"])
        both = self.encode(torch.cat([batch["target"], batch["warped"]]))
        target, warped = both[:count], both[count:]
        clean = (target - warped) / config.residual_scale
        time = draw_times(count, self._config.end_share, generator).to(clean.device)
        epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
        weight = batch["weight"]
        # A pair that the warp gets nearly right has a small error, but viewers still see all of it.
        # Measure errors relative to what there was to correct.
        energy = (clean.square() * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
        weight = weight * (0.2 / (energy + self._config.energy_floor))[:, None, None, None]

        def denoiser(noisy: Tensor, when: Tensor) -> Tensor:
            out: Tensor = model.denoiser(noisy, when, warped, batch["maps"], batch.get("heard"))
            return out

        losses, estimate = diffusion_loss(denoiser, clean, time, epsilon, weight)
        # Share of the warp's error that remains at time 1; below 1, the network beats the warp.
        at_end = time == 1
        nothing = (clean.square() * weight).mean((1, 2, 3))
        left = (losses * at_end).sum() / (nothing * at_end).sum().clamp(min=1e-6)
        values = {"loss": losses.mean(), "left": left}
        if model.discriminator is not None:
            latents = warped + config.residual_scale * estimate
            judged = self._judge(model.discriminator, latents, batch)
            values["loss"] = (
                values["loss"]
                + self._config.pixel_weight * judged["pixel"]
                + self._config.feature_weight * judged["feature"]
                + self._config.adversarial_weight * judged["adversarial"]
                + judged["judge"]
            )
            values.update(judged)
        return values

    def _judge(
        self, discriminator: PatchDiscriminator, latents: Tensor, batch: Batch
    ) -> dict[str, Tensor]:
        """Decode mouths and compare them with filmed ones.

        The gradients of `pixel`, `feature` and `adversarial` reach only the latents; those of
        `judge` reach only the discriminator. The discriminator sees generated mouths inside filmed
        faces, because the skin is visible in the identity and need not be generated.
        """
        detail = self.autoencoder.lost_detail(batch["warped"])
        decoded = self.autoencoder.decode(latents.contiguous(memory_format=torch.channels_last))
        corners = batch["corner"]
        made, real, warped = (
            _patches(image, corners)
            for image in (decoded + detail, batch["target"], batch["warped"])
        )
        shown = batch["maps"][:, list(JUDGE_MAPS)]
        shown = functional.interpolate(_patches(shown, corners, MAP_RATIO), scale_factor=2.0)
        condition = torch.cat([warped, shown], 1)
        with torch.no_grad():
            _, goals = discriminator(real, condition)
        near = functional.max_pool2d(shown[:, :1], 2 * JUDGED_PX + 1, stride=1, padding=JUDGED_PX)
        judged = near * made + (1 - near) * real
        discriminator.requires_grad_(False)
        logits, features = discriminator(judged, condition)
        discriminator.requires_grad_(True)
        feature = torch.stack(
            [functional.l1_loss(a.float(), b.float()) for a, b in zip(features, goals, strict=True)]
        )
        real_logits, _ = discriminator(real, condition)
        made_logits, _ = discriminator(judged.detach(), condition)
        return {
            "pixel": functional.l1_loss(made.float(), real),
            "feature": feature.mean(),
            "adversarial": -logits.float().mean(),
            "judge": judge_loss(real_logits.float(), made_logits.float()),
        }

    def reconstruct(self, model: Denoiser, batch: Batch, num_steps: int, seed: int = 0) -> Tensor:
        """Sample the lower faces of a batch, (B, 3, 160, 192) in [-1, 1]."""
        image = batch["warped"]
        channels, (height, width) = model.config.latent_channels, image.shape[-2:]
        generator = torch.Generator().manual_seed(seed)
        shape = (1, channels, height // LATENT_PX, width // LATENT_PX)
        epsilon = torch.randn(shape, generator=generator).to(image)
        self.autoencoder.to(image.device)
        heard = batch.get("heard")
        return correct(self.autoencoder, model, image, batch["maps"], epsilon, num_steps, heard)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return lower-face PSNR on people not in training: warped, denoised in 1 and 4 steps."""
        assert isinstance(model, Trainee)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation:
            batch = {key: value.to(device) for key, value in clip.items()}
            row = {
                "warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mask"]),
                "mouth_warp_psnr": _masked_psnr(batch["plain"], batch["target"], batch["mouth"]),
            }
            for steps, name in ((1, "psnr"), (4, "psnr_4_steps")):
                made = self.reconstruct(model.denoiser, batch, steps)
                row[name] = _masked_psnr(made, batch["target"], batch["mask"])
                if steps == 1:
                    row["mouth_psnr"] = _masked_psnr(made, batch["target"], batch["mouth"])
            row["gain"] = row["worst_gain"] = row["psnr"] - row["warp_psnr"]
            rows.append(row)
        scores = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        scores["worst_gain"] = min(row["worst_gain"] for row in rows)
        return scores

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of the warp, the results of one step and of four, and the truth."""
        assert isinstance(model, Trainee)
        device = next(model.parameters()).device
        rows = []
        for clip in self._validation[:10]:
            batch = {key: value[-2:].to(device) for key, value in clip.items()}
            made = [self.reconstruct(model.denoiser, batch, steps) for steps in (1, 4)]
            images = [batch["warped"], *made, batch["target"]]
            cells = [((i.float() + 1) * 127.5).round().clamp(0, 255).byte() for i in images]
            row = torch.cat([c[k] for k in range(len(cells[0])) for c in cells], -1)
            rows.append(row.permute(1, 2, 0).cpu().numpy())
        return np.asarray(np.concatenate(rows, 0), np.uint8)

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the denoiser's checkpoint folder."""
        assert isinstance(model, Trainee)
        save_checkpoint(
            folder,
            architecture="denoiser",
            config=model.denoiser.config,
            state=model.denoiser.state_dict(),
            dtype=torch.float16,
        )


def _masked_psnr(made: Tensor, target: Tensor, mask: Tensor) -> float:
    """Return the mean PSNR over frames under a mask, for images in [-1, 1] rounded to 8 bits."""
    mask = functional.interpolate(mask.float(), scale_factor=2.0, mode="nearest")
    a, b = (((x.float() + 1) * 127.5).round().clamp(0, 255) for x in (made, target))
    error = ((a - b).square() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3))).clamp(min=1)
    psnr = 10 * torch.log10(255**2 / error.clamp(min=255**2 * 1e-10))
    return float(psnr.mean())


assert CROP_SIDE_PX % LATENT_PX == 0
