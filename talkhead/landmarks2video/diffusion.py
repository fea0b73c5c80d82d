"""Diffusion on one page: noise schedule, training loss and sampler, in the v-parametrisation.

    notation   name       meaning
    t          time       in [0, 1]; 0 is clean, 1 is pure noise
    alpha_t    signal     cos(pi t / 2)
    sigma_t    noise      sin(pi t / 2); signal^2 + noise^2 = 1
    x_0        clean      what is generated, roughly unit scale
    x_t        noisy      signal * clean + noise * epsilon
    v_t        velocity   signal * epsilon - noise * clean

No signal is left at t = 1. Sampling from noise therefore starts where training ended, and a single
step returns the network's estimate of the mean.

Sources: Salimans and Ho, "Progressive distillation for fast sampling of diffusion models" (2022),
appendix D; Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2023) for
the zero terminal signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy (B, C, h, w), time (B,)) to velocity (B, C, h, w)."""


def schedule(time: Tensor) -> tuple[Tensor, Tensor]:
    """Return signal and noise, each (B, 1, 1, 1), at times (B,)."""
    angle = time.float() * (math.pi / 2)
    return angle.cos()[:, None, None, None], angle.sin()[:, None, None, None]


def time_angles(time: Tensor, count: int) -> Tensor:
    """Return angles (B, count) of the sinusoidal embedding of times (B,), slow to fast."""
    paces = torch.exp(torch.linspace(0, math.log(1000.0), count, device=time.device))
    return time.float()[:, None] * paces


def training_pair(clean: Tensor, time: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """Return the network's input and its target: noisy and velocity, each (B, C, h, w)."""
    signal, noise = schedule(time)
    return signal * clean + noise * epsilon, signal * epsilon - noise * clean


def draw_times(count: int, end_share: float, generator: torch.Generator) -> Tensor:
    """Draw training times, (count,): exactly 1 with probability `end_share`, otherwise uniform.

    A single-step sampler only ever visits time 1, so training visits it more often than a uniform
    distribution would.
    """
    uniform = torch.rand(count, generator=generator)
    at_end = torch.rand(count, generator=generator) < end_share
    return torch.where(at_end, torch.ones(()), uniform)


def diffusion_loss(
    denoiser: Denoiser, clean: Tensor, time: Tensor, epsilon: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the weighted mean squared error of the velocity of each sample, (B,).

    The second value is the estimate of the clean sample, (B, C, h, w).

    Args:
        denoiser: the network with its conditions bound.
        clean: (B, C, h, w).
        time: (B,).
        epsilon: (B, C, h, w), standard normal.
        weight: broadcasts to (B, C, h, w).
    """
    noisy, velocity = training_pair(clean, time, epsilon)
    answer = denoiser(noisy, time).float()
    signal, noise = schedule(time)
    error = (answer - velocity).square()
    return (error * weight).mean((1, 2, 3)), signal * noisy - noise * answer


def sample_ddim(
    denoiser: Denoiser, epsilon: Tensor, num_steps: int, start: float = 1.0
) -> Iterator[Tensor]:
    """Sample with DDIM (eta = 0), starting from noise.

    Args:
        denoiser: the network with its conditions bound.
        epsilon: (B, C, h, w), standard normal.
        num_steps: network evaluations.
        start: time of the first evaluation. 1 is pure noise; an earlier time starts from zeros
            with that time's share of noise.

    Yields:
        The estimate of the clean latents, (B, C, h, w), after each step; the last one is the
        sample.

    Source: Song, Meng and Ermon, "Denoising diffusion implicit models" (2020), equation 12.
    """
    times = torch.linspace(start, 0, num_steps + 1, device=epsilon.device)
    noisy = epsilon * schedule(times[:1])[1]
    for now, after in pairwise(times):
        signal, noise = schedule(now[None])
        velocity = denoiser(noisy, now.expand(len(noisy))).to(noisy.dtype)
        clean = signal * noisy - noise * velocity
        direction = noise * noisy + signal * velocity
        signal, noise = schedule(after[None])
        noisy = signal * clean + noise * direction
        yield clean
