"""Continue training a network for a short while: for some steps, or for some time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talkhead.errors import TalkheadError

WARMUP_STEPS = 20
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Limit:
    """When to end: after a number of steps, or after some seconds."""

    steps: int | None = None
    seconds: float = math.inf

    def share(self, step: int, started: float) -> float:
        """Return how much of the training is over, 0 to 1 and more.

        Args:
            step: number of steps taken.
            started: when it began, by `time.monotonic`.
        """
        if self.steps is not None:
            return step / max(self.steps, 1)
        return (time.monotonic() - started) / max(self.seconds, 1e-6)


@dataclass(frozen=True)
class TuningProgress:
    """How far a training is."""

    step: int
    """Number of steps taken."""
    share: float
    """How much of it is over, 0 to 1."""
    loss: float


def fine_tune(
    network: nn.Module,
    loss_of: Callable[[int], Tensor],
    limit: Limit,
    *,
    learning_rate: float,
    dtype: torch.dtype = torch.float32,
) -> Iterator[TuningProgress]:
    """Train the parameters of a network in place.

    The learning rate falls by a half cosine to nothing as the limit comes near.

    Args:
        network: in evaluation mode it would be trained without dropout.
        loss_of: the loss of a step, given its number.
        limit: when to end.
        learning_rate: its peak.
        dtype: precision of the computation.

    Yields:
        After each step.

    Raises:
        TalkheadError: the loss is no longer finite.
    """
    learned = list(network.requires_grad_(True).parameters())
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))
    device = next(network.parameters()).device
    started, step = time.monotonic(), 0
    while (share := limit.share(step, started)) < 1:
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm * 0.5 * (1 + math.cos(math.pi * share))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, CLIP_NORM)
        optimizer.step()
        step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TalkheadError(f"the loss is not finite after {step} steps")
        yield TuningProgress(step, min(limit.share(step, started), 1.0), value)
    network.requires_grad_(False)
