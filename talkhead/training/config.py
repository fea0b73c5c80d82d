"""Training settings: a TOML file read strictly into frozen dataclasses."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkhead.errors import TalkheadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class LoopConfig:
    """The table [train], the same for every task."""

    data: str
    """Folder made by `talkhead prepare`; a relative path starts at the TOML file."""
    run: str
    """Folder of this run: logs, previews, state to resume from, and the checkpoint. Relative paths as above."""
    steps: int
    """Optimizer steps of the whole run."""
    batch_size: int
    """Samples per step."""
    learning_rate: float
    """Highest rate: reached after `warmup_steps`, then down a half cosine to a hundredth."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW, on matrices and kernels only."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.999
    """Decay of the running mean of the weights, which is what gets saved."""
    precision: str = "bfloat16"
    """bfloat16 (autocast) or float32."""
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


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        TalkheadError: missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TalkheadError(f"cannot read the settings {path}: {error}") from error
