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


MAX_SETTINGS_BYTES = 64_000
"""Settings are a page of text. The memory that a dotted key takes grows with its length squared."""


@dataclass(frozen=True)
class LoopConfig:
    """The table [train], the same for every task."""

    data: str
    """Folder made by `talkhead prepare`; a relative path starts at the TOML file."""
    run: str
    """Folder of this run, found alike: logs, previews, state to resume from, checkpoint."""
    steps: int
    """Optimizer steps of the whole run."""
    batch_size: int
    """Samples per step."""
    learning_rate: float
    """Highest rate: reached after `warmup_steps`, then down a half cosine to a hundredth."""
    rates: dict[str, float] = field(default_factory=dict)
    """Share of the learning rate for parameters by the first part of their names; 0 leaves them as
    they are."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, on matrices and kernels only."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.999
    """Decay of the running mean of the weights, which is what gets saved."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the computation; the weights themselves are float32."""
    seed: int = 0
    """Everything random is drawn from it."""
    num_workers: int = 1
    """Processes that make samples; 0 makes them in the training process."""
    log_every: int = 20
    """Steps between two log lines."""
    validate_every: int = 500
    """Steps between two validations, which also write a preview picture."""
    save_every: int = 250
    """Steps between two saves of the state to resume from."""


def check_loop(config: LoopConfig, *, source: str = "[train]") -> None:
    """Refuse numbers that no run can have.

    Args:
        config: the settings.
        source: where they are from, for the message.

    Raises:
        TalkheadError: a number is too small, or too large.
    """
    for name in ("steps", "batch_size", "log_every", "validate_every", "save_every"):
        if getattr(config, name) < 1:
            raise TalkheadError(f"{source}: {name} has to be at least 1")
    for name in ("warmup_steps", "weight_decay", "seed", "num_workers"):
        if getattr(config, name) < 0:
            raise TalkheadError(f"{source}: {name} cannot be negative")
    for name, share in config.rates.items():
        if share < 0:
            raise TalkheadError(f"{source}: rates of {name} cannot be negative")
    for name in ("learning_rate", "clip_norm"):
        if not getattr(config, name) > 0:
            raise TalkheadError(f"{source}: {name} has to be more than 0")
    if not 0 <= config.ema_decay < 1:
        raise TalkheadError(f"{source}: ema_decay has to be from 0 to less than 1")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        TalkheadError: missing, no file, too large, or not TOML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise TalkheadError("it is not a regular file")
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise TalkheadError(f"it is larger than {MAX_SETTINGS_BYTES:,} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (TalkheadError, OSError, ValueError, RecursionError) as error:
        raise TalkheadError(f"cannot read the settings {path}: {error}") from error
