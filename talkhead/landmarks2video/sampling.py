"""Noise schedule and sampling, with schedulers of diffusers.

    notation   name       meaning
    t          timestep   0 to 999; at 999 there is nothing left but noise
    alpha_t    signal     cos(pi (t + 1) / 2000)
    sigma_t    noise      sin(pi (t + 1) / 2000); signal^2 + noise^2 = 1
    x_0        clean      what is generated, roughly unit scale
    x_t        noisy      signal * clean + noise * epsilon
    v_t        velocity   signal * epsilon - noise * clean

No signal is left at the last timestep. Sampling from noise therefore starts where training ended,
and a single step returns the network's estimate of the mean. Networks get (t + 1) / 1000.

Sources: Salimans and Ho, "Progressive distillation for fast sampling of diffusion models" (2022),
appendix D; Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2023) for
the zero terminal signal.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from talkhead.weights.systems import SCHEDULER_NAMES

NUM_TIMESTEPS = 1000


@dataclass(frozen=True)
class SamplerOptions:
    """How a renderer samples."""

    num_steps: int = 1
    """Network evaluations."""
    start_step: int | None = None
    """Timestep count at which sampling starts, up to 1000; None for the renderer's default."""
    seed: int = 0
    """Random seed of all noise, which the frames share."""
    scheduler: str | None = None
    """A key of `SCHEDULER_NAMES`, in place of the pipeline's own; None keeps that."""


Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy (B, ...), time (B,) in [0, 1]) to the network's prediction, (B, ...)."""


def cosine_betas(num_timesteps: int = NUM_TIMESTEPS) -> list[float]:
    """Return the betas of the schedule above; the last one is 1."""
    signal = [math.cos(math.pi / 2 * k / num_timesteps) ** 2 for k in range(num_timesteps)] + [0.0]
    return [1 - after / before for before, after in pairwise(signal)]


def default_scheduler(prediction_type: Literal["v_prediction", "sample"] = "v_prediction") -> Any:
    """Return the scheduler that ships: DDIM on the cosine schedule."""
    return DDIMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        trained_betas=cosine_betas(),
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )


def linear_scheduler() -> Any:
    """Return DDPM on linear betas, for networks that predict the noise (epsilon).

    Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (2020), with what Vo et
    al. use of it. Estimates of the clean sample are not clipped.
    """
    return DDPMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="epsilon",
        timestep_spacing="trailing",
        clip_sample=False,
    )


def named_scheduler(name: str, scheduler: Any) -> Any:
    """Return a scheduler of `SCHEDULER_NAMES` with the noise schedule of another scheduler."""
    chosen: Any = getattr(diffusers, SCHEDULER_NAMES[name]).from_config(scheduler.config)
    return chosen


def starting_at(scheduler: Any, start_step: int | None) -> Any:
    """Return a copy of a scheduler that starts at a step; None for the last one.

    The copy keeps the first `start_step` timesteps only, as if training had never gone further.
    """
    if start_step is None or start_step == scheduler.config.num_train_timesteps:
        settings = getattr(scheduler, "_internal_dict", None)  # those never change; betas are long
        return copy.deepcopy(scheduler, {id(settings): settings})
    betas: Sequence[float] = scheduler.betas[:start_step].tolist()
    settings = dict(scheduler.config) | {
        "num_train_timesteps": start_step,
        "trained_betas": betas,
        "rescale_betas_zero_snr": False,
    }
    # diffusers lists what it once took from defaults here, and would ignore our values for that.
    settings.pop("_use_default_values", None)
    return type(scheduler).from_config(settings)


def sample(
    denoiser: Denoiser,
    epsilon: Tensor,
    scheduler: Any,
    options: SamplerOptions,
    *,
    start_step: int | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Sample with a scheduler of diffusers.

    Args:
        denoiser: the network with its conditions bound.
        epsilon: (B, ...), standard normal.
        scheduler: any of diffusers' that takes its betas from a list; it is left unchanged.
        options: steps, seed, and another scheduler.
        start_step: timestep count at which to start, from zeros with that much noise; None for the
            last one, which is pure noise.
        start: (B, ...), what sampling starts from instead, as it is.

    Returns:
        (B, ...), the clean sample.
    """
    num_timesteps = scheduler.config.num_train_timesteps
    if options.scheduler is not None:
        scheduler = named_scheduler(options.scheduler, scheduler)
    scheduler = starting_at(scheduler, start_step)
    scheduler.set_timesteps(min(options.num_steps, scheduler.config.num_train_timesteps))
    # Rounding errors add a step at timestep -1, for 7 steps out of 300 for example.
    timesteps = scheduler.timesteps[scheduler.timesteps >= 0]
    noisy = start
    if noisy is None:
        noisy = scheduler.add_noise(torch.zeros_like(epsilon), epsilon, timesteps[:1])
    extra: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = torch.Generator().manual_seed(options.seed)
    for timestep in timesteps:
        time = ((timestep + 1) / num_timesteps).float().to(epsilon.device)
        given = scheduler.scale_model_input(noisy, timestep)
        predicted = denoiser(given, time.expand(len(noisy))).to(noisy.dtype)
        step = scheduler.step(predicted, timestep, noisy, **extra)
        noisy = step.prev_sample
    # Steps that do not divide the timesteps leave a trace of noise, but not in the estimate.
    estimate: Tensor | None = getattr(step, "pred_original_sample", None)
    return noisy if estimate is None else estimate
