"""The training side of diffusion, on a scheduler of diffusers.

See `talkhead.landmarks2video.sampling` for the notation. Networks get (t + 1) / 1000 for timestep
t, in training as in sampling.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from talkhead.landmarks2video.sampling import Denoiser


def draw_timesteps(
    count: int, end_share: float, generator: torch.Generator, scheduler: Any
) -> Tensor:
    """Draw training timesteps, int64 (count,).

    A single-step sampler only ever visits the last timestep, so training visits it more often than
    a uniform distribution would.

    Args:
        count: number of samples.
        end_share: probability of the last timestep; otherwise all are equally likely.
        generator: source of randomness.
        scheduler: a scheduler of diffusers.
    """
    num_timesteps = int(scheduler.config.num_train_timesteps)
    uniform = torch.randint(num_timesteps, (count,), generator=generator)
    is_last = torch.rand(count, generator=generator) < end_share
    return torch.where(is_last, num_timesteps - 1, uniform)


def network_time(timesteps: Tensor, scheduler: Any) -> Tensor:
    """Return the times in (0, 1] that networks get for timesteps, (B,)."""
    return (timesteps + 1).float() / int(scheduler.config.num_train_timesteps)


def diffusion_loss(
    denoiser: Denoiser,
    scheduler: Any,
    clean: Tensor,
    timesteps: Tensor,
    epsilon: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the weighted mean squared error of the velocity of each sample, (B,).

    The second value is the estimate of the clean sample, (B, ...).

    Args:
        denoiser: the network with its conditions bound; it predicts the velocity.
        scheduler: a scheduler of diffusers.
        clean: (B, ...).
        timesteps: int64 (B,).
        epsilon: (B, ...), standard normal.
        weight: broadcasts to (B, ...).
    """
    noisy = scheduler.add_noise(clean, epsilon, timesteps)
    velocity = scheduler.get_velocity(clean, epsilon, timesteps)
    predicted = denoiser(noisy, network_time(timesteps, scheduler)).float()
    losses = ((predicted - velocity).square() * weight).flatten(1).mean(1)
    # The clean sample is signal * noisy - noise * velocity, which has the velocity's own formula.
    estimate: Tensor = scheduler.get_velocity(predicted, noisy, timesteps)
    return losses, estimate
