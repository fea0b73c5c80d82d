"""Adapt the second stage to one person: the denoiser first, then the mouth denoiser on its drafts.

Only networks change. Skin registration, autoencoder and the components of mouths stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.data.one_person import PersonVideo
from talkhead.landmarks2video.mouth_patch import DISTANCE_UNIT_PX
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.landmarks2video.sampling import NUM_TIMESTEPS
from talkhead.networks import to_channels_last
from talkhead.training.denoiser import residual_losses
from talkhead.training.fine_tuning import Limit, TuningProgress, fine_tune
from talkhead.training.mouth_denoiser import conditions_of, draw_timesteps, painted_losses
from talkhead.training.mouth_pairs import Pairs, join_pairs, pairs_of_clip
from talkhead.training.mouth_samples import MouthDenoiserTaskConfig, as_sample
from talkhead.training.pairs import DenoiserTaskConfig
from talkhead.training.person_pairs import ResidualPairs
from talkhead.training.samples import step_seed

BATCH_SIZE = 8
LEARNING_RATE = 2e-4
MOUTH_BATCH_SIZE = 8
MOUTH_LEARNING_RATE = 5e-4
END_SHARE = 0.6
"""Share of mouths at pure noise, where a single step starts; so are half of the others."""
DETAIL_WEIGHT = 0.3
"""Weight of `detail_loss`."""
DETAIL_GOAL = 0.8
"""Share of the true mouths' detail to reach."""
DETAIL_MARGIN_PX = 1.0
"""Detail is measured this far inside the inner lips, in pixels of the patch."""
MIN_DETAIL_PX = 60
DETAIL_FLOOR = 1e-5
PART_MOUTHS = 24
"""Mouths of a clip that are drawn at a time."""


def tune_denoiser(
    renderer: LatentRenderer, pairs: ResidualPairs, limit: Limit, seed: int
) -> Iterator[TuningProgress]:
    """Train the renderer's denoiser on a person's pairs, in place.

    Yields:
        After each step.
    """
    denoiser, count = renderer.denoiser, len(pairs.target)
    config = DenoiserTaskConfig(autoencoder="")
    to_channels_last(denoiser)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        chosen = torch.randint(count, (BATCH_SIZE,), generator=generator)
        # Rendering visits no other timestep.
        timesteps = torch.full((BATCH_SIZE,), NUM_TIMESTEPS - 1)
        batch = pairs.batch(chosen, renderer.device)
        given = denoiser, renderer.scheduler, batch, timesteps, config, generator
        losses, _, _ = residual_losses(*given)
        return losses.mean()

    yield from fine_tune(
        denoiser, loss_of, limit, learning_rate=LEARNING_RATE, dtype=renderer.dtype
    )


def draw_mouths(
    renderer: LatentRenderer, videos: Sequence[PersonVideo], count: int, seed: int
) -> Iterator[Pairs]:
    """Draw mouths of a person with the renderer, and cut the true ones.

    Args:
        renderer: without a painter.
        videos: the person's.
        count: about how many.
        seed: random seed.

    Yields:
        Pairs, some at a time.
    """
    parts = [part for video in videos for part in video.train]
    total = sum(map(len, parts))
    for number, part in enumerate(parts):
        left = round(count * len(part) / total)
        rng = np.random.default_rng([seed, 2, number])
        while left > 0:
            pairs = pairs_of_clip(renderer, part.info, part.clip, min(left, PART_MOUTHS), rng)
            if pairs is None:
                break
            left -= len(pairs.infos)
            yield pairs


@dataclass(frozen=True)
class Mouths:
    """Drawn and true mouths of a person."""

    pairs: Pairs

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Mouths:
        """Join pairs, of which there must be some."""
        return cls(join_pairs(parts))

    def batch(self, chosen: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Return some of them."""
        found = self.pairs
        samples = [
            as_sample(
                [found.drafts[k], found.reals[k], found.references[k]],
                found.outlines[k],
                found.infos[k].detail,
            )
            for k in chosen.tolist()
        ]
        return {
            key: torch.from_numpy(np.stack([sample[key] for sample in samples])).to(device)
            for key in samples[0]
        }


def tune_mouth_denoiser(
    renderer: LatentRenderer, mouths: Mouths, limit: Limit, seed: int
) -> Iterator[TuningProgress]:
    """Train the painter's denoiser on a person's mouths, in place.

    Yields:
        After each step.
    """
    assert renderer.painter is not None
    denoiser, count = renderer.painter.denoiser, len(mouths.pairs.infos)
    config = MouthDenoiserTaskConfig(num_timesteps=4)
    to_channels_last(denoiser)
    details = np.array([info.detail for info in mouths.pairs.infos])
    denoiser.register_to_config(sharpness=round(float(np.quantile(details, 0.8)), 3))

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        chosen = torch.randint(count, (MOUTH_BATCH_SIZE,), generator=generator)
        known = conditions_of(mouths.batch(chosen, renderer.device), denoiser)
        keeps = torch.rand(MOUTH_BATCH_SIZE, generator=generator) >= config.drop_reference
        timesteps = draw_timesteps(
            MOUTH_BATCH_SIZE, config.num_timesteps, generator, renderer.scheduler
        )
        ends = torch.rand(MOUTH_BATCH_SIZE, generator=generator) < END_SHARE
        timesteps = torch.where(ends, NUM_TIMESTEPS - 1, timesteps)
        losses, residual = painted_losses(
            denoiser, renderer.scheduler, known, keeps, timesteps, config, generator
        )
        painted, real = (denoiser.decode(x) for x in (known["draft"] + residual, known["real"]))
        return losses.mean() + DETAIL_WEIGHT * detail_loss(painted, real, known["maps"])

    yield from fine_tune(
        denoiser, loss_of, limit, learning_rate=MOUTH_LEARNING_RATE, dtype=renderer.dtype
    )


def detail_loss(painted: Tensor, real: Tensor, maps: Tensor) -> Tensor:
    """Return how far the detail inside the lips is from that of the true mouths.

    Squared errors alone blur what cannot be predicted.

    Args:
        painted: (B, 3, 128, 160).
        real: (B, 3, 128, 160).
        maps: (B, 2, 32, 40), from `draw_lips`.

    Returns:
        The mean squared logarithm of the ratio of both Laplacians' root mean squares, without
        mouths that are hardly opened.
    """
    inner = functional.interpolate(maps[:, :1], real.shape[-2:], mode="bilinear")
    inside = (inner * DISTANCE_UNIT_PX > DETAIL_MARGIN_PX).float()
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=real.device)[None, None]
    sizes = [
        (
            functional.conv2d(image.float().mean(1, keepdim=True), kernel, padding=1).square()
            * inside
        ).sum((1, 2, 3))
        / inside.sum((1, 2, 3)).clamp(min=1)
        for image in (painted, real)
    ]
    opened = (inside.sum((1, 2, 3)) >= MIN_DETAIL_PX).float()
    ours, theirs = (0.5 * (size + DETAIL_FLOOR).log() for size in sizes)
    apart = (ours - theirs - math.log(DETAIL_GOAL)).square()
    return (apart * opened).sum() / opened.sum().clamp(min=1)
