"""Task `mouth-denoiser`: diffuse what the drafts of opened mouths lack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.data.selection import split_rows
from talkhead.errors import TalkheadError
from talkhead.landmarks2video.mouth_denoiser import LATENT_PX, MouthDenoiser
from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    LIP_MAP_PX,
    draw_lips,
    painted_share,
)
from talkhead.landmarks2video.sampling import SamplerOptions, default_scheduler, sample
from talkhead.networks import to_channels_last
from talkhead.training.config import CHECKPOINT
from talkhead.training.diffusion import diffusion_loss
from talkhead.training.mouth_judge import WIDE_PX, MouthJudge, enlarged, make_judge, to_model
from talkhead.training.mouth_pairs import Pairs, make_pairs, read_pairs
from talkhead.training.mouth_samples import MouthDenoiserTaskConfig, MouthSamples, as_sample
from talkhead.training.samples import Batch

NUM_PREVIEWS = 40
MEASURED_PAIRS = 2000
"""Pairs from which components and spreads are measured."""


class TrainModule(nn.Module):
    """The denoiser, plus its judge, which is only used during training."""

    def __init__(self, model_config: Mapping[str, Any], judge: MouthJudge | None) -> None:
        super().__init__()
        self.denoiser = MouthDenoiser(**model_config)
        self.judge = judge


class MouthDenoiserTask:
    """Training of the mouth denoiser.

    Args:
        data: prepared folder, with crops of 512 px.
        model_config: arguments of the network; a `sharpness` of 0 is measured on the pairs.
        config: task settings.
        seed: seed for the samples and the initial weights.
        weights: folder of the pipeline that draws the drafts.
        pairs: folder of the pairs.
        initial: checkpoint folder to start from.
        features: folder of the network whose features the discriminator sees.

    Raises:
        TalkheadError: the data has no opened mouths.
        WeightsError: a checkpoint is missing or corrupt, or the initial one has other sizes.
    """

    def __init__(
        self,
        data: Path,
        model_config: Mapping[str, Any],
        config: MouthDenoiserTaskConfig,
        seed: int,
        weights: Path,
        pairs: Path,
        initial: Path | None = None,
        features: Path | None = None,
    ) -> None:
        train, unseen, _ = split_rows(data, with_stills=True)
        for _ in make_pairs(
            data, train + unseen, weights, config.per_clip, seed, pairs, config.workers
        ):
            pass
        self._config = config
        self._scheduler = default_scheduler()
        found = read_pairs(pairs)
        split = np.array([info.split for info in found.infos])
        chosen = np.flatnonzero(split == "train")
        held_out = np.flatnonzero(split != "train")
        if not len(chosen):
            raise TalkheadError(f"{data} has no opened mouths to train on")
        self.samples = MouthSamples(found, chosen, seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            judge = None if config.adversarial_weight == 0 else make_judge(features)
            self.model: TrainModule = TrainModule(model_config, judge)
        to_channels_last(self.model)
        denoiser = self.model.denoiser
        if initial is not None:
            denoiser.load_alike(initial)
        else:
            self._measure(found, chosen, seed)
        if not len(held_out):
            held_out = chosen
        picked = held_out[
            np.linspace(0, len(held_out) - 1, min(config.validation_pairs, len(held_out))).astype(
                int
            )
        ]
        rows = [
            as_sample(
                [found.drafts[k], found.reals[k], found.references[k]],
                found.outlines[k],
                found.infos[k].detail,
            )
            for k in picked
        ]
        self._validation = {
            key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]
        }

    @torch.no_grad()
    def _measure(self, pairs: Pairs, chosen: npt.NDArray[np.int64], seed: int) -> None:
        """Measure the principal components of mouths, and the spread of the residuals."""
        rng = np.random.default_rng([seed, 7])
        picked = rng.choice(chosen, min(MEASURED_PAIRS, len(chosen)), replace=False)
        real, draft = (
            to_model(torch.from_numpy(images[picked]).permute(0, 3, 1, 2))
            for images in (pairs.reals, pairs.drafts)
        )
        maps = draw_lips(torch.from_numpy(pairs.outlines[picked]))
        near = _weight(maps, 0.0)[:, 0] > 0  # (B, 16, 20)
        cells = functional.pixel_unshuffle(real, LATENT_PX).permute(0, 2, 3, 1)[near]
        denoiser = self.model.denoiser
        mean = cells.mean(0)
        _, spread, vectors = torch.linalg.svd(cells - mean, full_matrices=False)
        count = denoiser.config.latent_channels
        denoiser.patch_mean.copy_(mean)
        denoiser.components.copy_(vectors[:count])
        denoiser.spread.copy_(spread[:count] / len(cells) ** 0.5)
        residual = denoiser.encode(real) - denoiser.encode(draft)
        denoiser.residual_spread.copy_(residual.permute(0, 2, 3, 1)[near].square().mean(0).sqrt())
        if denoiser.config.sharpness == 0:
            details = np.array([pairs.infos[k].detail for k in chosen])
            denoiser.register_to_config(sharpness=round(float(np.quantile(details, 0.8)), 3))

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted velocity error, and the losses of the discriminator."""
        assert isinstance(model, TrainModule)
        denoiser, config = model.denoiser, self._config
        known = conditions_of(batch, denoiser)
        count = len(known["draft"])
        keeps = torch.rand(count, generator=generator) >= config.drop_reference
        timesteps = draw_timesteps(count, config.num_timesteps, generator, self._scheduler)
        losses, residual = painted_losses(
            denoiser, self._scheduler, known, keeps, timesteps, config, generator
        )
        values = {"loss": config.diffusion_weight * losses.mean(), "velocity": losses.mean()}
        if model.judge is not None:
            painted = denoiser.decode(known["draft"] + residual)
            real, draft = to_model(batch["real"]), to_model(batch["draft"])
            judged = model.judge(painted, real, draft, known["maps"])
            values["loss"] = (
                values["loss"]
                + config.pixel_weight * judged["pixel"]
                + config.feature_weight * judged["feature"]
                + config.adversarial_weight * judged["adversarial"]
                + judged["discriminator"]
            )
            values.update(judged)
        return values

    def paint(self, model: MouthDenoiser, batch: Batch, steps: int, seed: int = 0) -> Tensor:
        """Sample the patches of a batch, (B, 3, 128, 160) in [-1, 1]."""
        known = conditions_of(batch, model)
        draft = known["draft"]
        generator = torch.Generator().manual_seed(seed)
        epsilon = torch.randn((1, *draft.shape[1:]), generator=generator).to(draft)
        sharpness = torch.full((len(draft),), float(model.config.sharpness), device=draft.device)

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            velocity: Tensor = model(
                noisy, time, draft, known["reference"], known["maps"], sharpness
            )
            return velocity.float()

        options = SamplerOptions(steps)
        residual = sample(denoise, epsilon.expand_as(draft), self._scheduler, options)
        painted = model.decode(draft + residual * model.residual_spread[:, None, None])
        share = painted_share(enlarged(known["maps"][:, :1]))
        return (to_model(batch["draft"]) * (1 - share) + painted * share).clamp(-1, 1)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return PSNR and sharpness inside opened lips of held-out people, by sampling steps."""
        assert isinstance(model, TrainModule)
        batch = self._on_device(model)
        real, draft = to_model(batch["real"]), to_model(batch["draft"])
        inside = _inside(draw_lips(batch["outlines"]))
        scores = {
            "draft_psnr": _psnr(draft, real, inside),
            "draft_sharpness": _sharpness(draft, real, inside),
        }
        for steps in (1, 2, 4, 8):
            painted = self.paint(model.denoiser, batch, steps)
            scores[f"psnr_{steps}"] = _psnr(painted, real, inside)
            scores[f"sharpness_{steps}"] = _sharpness(painted, real, inside)
        return scores

    def _on_device(self, model: nn.Module) -> dict[str, Tensor]:
        device = next(model.parameters()).device
        return {key: value.to(device) for key, value in self._validation.items()}

    def preview(self, model: nn.Module) -> npt.NDArray[np.uint8] | None:
        """Return rows of the draft, one step, four steps, and the truth."""
        assert isinstance(model, TrainModule)
        batch = self._on_device(model)
        count = len(batch["real"])
        shown = np.linspace(0, count - 1, min(NUM_PREVIEWS, count)).astype(int)
        batch = {key: value[shown] for key, value in batch.items()}
        images = [
            to_model(batch["draft"]),
            self.paint(model.denoiser, batch, 1),
            self.paint(model.denoiser, batch, 4),
            to_model(batch["real"]),
        ]
        cells = [((i.float() + 1) * 127.5).round().clamp(0, 255).byte() for i in images]
        rows = [torch.cat([cell[k] for cell in cells], -1) for k in range(len(shown))]
        halves = [torch.cat(rows[k::2], -2) for k in range(2)]
        height = min(half.shape[-2] for half in halves)
        sheet = torch.cat([half[:, :height] for half in halves], -1)
        return np.asarray(sheet.permute(1, 2, 0).cpu().numpy())

    def save(self, run: Path, model: nn.Module) -> None:
        """Write the denoiser's checkpoint folder."""
        assert isinstance(model, TrainModule)
        model.denoiser.save_pretrained(run / CHECKPOINT, dtype=torch.float16)


def conditions_of(batch: Batch, denoiser: MouthDenoiser) -> dict[str, Tensor]:
    """Return the latents and lip maps of pairs: real, draft, reference, maps; and their detail."""
    with torch.no_grad():
        names = ("real", "draft", "reference")
        latents = {name: denoiser.encode(to_model(batch[name])) for name in names}
        return latents | {"maps": draw_lips(batch["outlines"]), "detail": batch["detail"]}


def draw_timesteps(
    count: int, num_timesteps: int, generator: torch.Generator, scheduler: Any
) -> Tensor:
    """Draw timesteps, int64 (count,), of a few evenly spaced ones; 0 draws from all."""
    total = int(scheduler.config.num_train_timesteps)
    some = num_timesteps or total
    drawn = torch.randint(1, some + 1, (count,), generator=generator)
    if num_timesteps:  # half of them at pure noise, where one step starts
        drawn = torch.where(torch.rand(count, generator=generator) < 0.5, some, drawn)
    return drawn * total // some - 1


def painted_losses(
    denoiser: MouthDenoiser,
    scheduler: Any,
    known: Batch,
    keeps: Tensor,
    timesteps: Tensor,
    config: MouthDenoiserTaskConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the weighted velocity errors of mouths, (B,), and the residuals' estimates.

    Args:
        denoiser: the network.
        scheduler: a scheduler of diffusers.
        known: from `conditions_of`.
        keeps: bool (B,), whether the network sees the reference.
        timesteps: int64 (B,).
        config: weights of the loss.
        generator: source of the noise.
    """
    draft = known["draft"]
    reference = known["reference"] * keeps.to(draft.device)[:, None, None, None]
    scale = denoiser.residual_spread[:, None, None]
    clean = (known["real"] - draft) / scale
    epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
    importance = (denoiser.residual_spread * denoiser.spread) ** config.component_power
    weight = _weight(known["maps"], config.outside_weight)
    weight = weight * (importance / importance.mean())[:, None, None]
    weight = weight / weight.mean((1, 2, 3), keepdim=True)

    def denoise(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = denoiser(noisy, time, draft, reference, known["maps"], known["detail"])
        return velocity

    losses, estimate = diffusion_loss(
        denoise, scheduler, clean, timesteps.to(clean.device), epsilon, weight
    )
    return losses, estimate * scale


def _weight(maps: Tensor, outside: float) -> Tensor:
    """Return the loss's weight at the latents, (B, 1, 16, 20): 1 in the mouth and around it."""
    distance = maps[:, :1] * DISTANCE_UNIT_PX
    near = (1 + (distance + WIDE_PX) / WIDE_PX).clamp(0, 1)
    ratio = LATENT_PX // LIP_MAP_PX
    return outside + (1 - outside) * functional.max_pool2d(near, ratio)


def _inside(maps: Tensor) -> Tensor:
    """Return the inside of the lips, (B, 1, 128, 160), 0 or 1."""
    return (enlarged(maps[:, :1]) > 0).float()


def _psnr(image: Tensor, real: Tensor, mask: Tensor) -> float:
    error = ((image - real) * 127.5).square().mul(mask).sum((1, 2, 3))
    error = error / (3 * mask.sum((1, 2, 3))).clamp(min=1)
    seen = mask.sum((1, 2, 3)) > 0
    return float((10 * torch.log10(255**2 / error.clamp(min=1e-3)))[seen].mean())


def _sharpness(image: Tensor, real: Tensor, mask: Tensor) -> float:
    """Return the energy of the Laplacian inside the lips, relative to the real patches'."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=real.device)[None, None]
    inner = 1 - functional.max_pool2d(1 - mask, 5, 1, 2)
    energies = [
        (functional.conv2d(i.float().mean(1, keepdim=True), kernel, padding=1).square() * inner)
        for i in (image, real)
    ]
    seen = inner.sum((1, 2, 3)) > 60
    made, true = (e.sum((1, 2, 3))[seen].mean() for e in energies)
    return float(made / true.clamp(min=1e-9))
