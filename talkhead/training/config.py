"""Training settings: a TOML file read strictly into frozen dataclasses."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from talkhead.errors import TalkheadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKPOINT = "checkpoint"
"""Folder of the trained network in a run folder."""
MAX_SETTINGS_BYTES = 64_000
"""Limit on the size of settings files. TOML dotted keys take memory quadratic in their length."""


@dataclass(frozen=True)
class LoopConfig:
    """The table [train], which is the same for every task."""

    data: str
    """Folder written by `talkhead prepare`; a relative path is relative to the TOML file."""
    run: str
    """Folder of the run's logs, previews, resumable state and checkpoint; resolved like `data`."""
    steps: int
    """Total number of optimiser steps."""
    batch_size: int
    """Samples per step."""
    learning_rate: float
    """Peak learning rate: reached after `warmup_steps`, then decayed by a half cosine to 1 %."""
    rates: dict[str, float] = field(default_factory=dict)
    """Multiplier of the learning rate per parameter-name prefix; 0 freezes the parameters."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, on matrices and kernels only."""
    clip_norm: float = 1.0
    """Maximum norm of the gradients."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is what gets saved."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the computation; the weights themselves are float32."""
    seed: int = 0
    """Random seed."""
    num_workers: int = 1
    """Processes that prepare samples; 0 prepares them in the training process."""
    log_every: int = 20
    """Steps between log lines."""
    validate_every: int = 500
    """Steps between validations, which also write a preview image."""
    save_every: int = 250
    """Steps between saves of the resumable state."""


def check_loop(config: LoopConfig, *, source: str = "[train]") -> None:
    """Check the settings of the training loop.

    Args:
        config: the settings.
        source: where they come from, for the error message.

    Raises:
        TalkheadError: a number is too small or too large.
    """
    for name in ("steps", "batch_size", "log_every", "validate_every", "save_every"):
        if getattr(config, name) < 1:
            raise TalkheadError(f"{source}: {name} must be at least 1")
    for name in ("warmup_steps", "weight_decay", "seed", "num_workers"):
        if getattr(config, name) < 0:
            raise TalkheadError(f"{source}: {name} cannot be negative")
    for name, share in config.rates.items():
        if share < 0:
            raise TalkheadError(f"{source}: rates of {name} cannot be negative")
    for name in ("learning_rate", "clip_norm"):
        if not getattr(config, name) > 0:
            raise TalkheadError(f"{source}: {name} must be greater than 0")
    if not 0 <= config.ema_decay < 1:
        raise TalkheadError(f"{source}: ema_decay must be at least 0 and less than 1")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        TalkheadError: the file is missing, not a regular file, too large, or not TOML.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise TalkheadError("it is not a regular file")
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise TalkheadError(f"it is larger than {MAX_SETTINGS_BYTES:,} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (TalkheadError, OSError, ValueError, RecursionError) as error:
        raise TalkheadError(f"cannot read the settings {path}: {error}") from error
