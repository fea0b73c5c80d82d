"""Resumable training state: weights, their moving average, optimiser, step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from talkhead.errors import TalkheadError
from talkhead.weights.strict_files import text_name


def save_state(
    run: Path,
    step: int,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write run/state atomically."""
    partial, target, old = run / "state.partial", run / "state", run / "state.old"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name, weights in (("model", model.state_dict()), ("average", average)):
        tensors = {key: value.contiguous() for key, value in weights.items()}
        save_file(tensors, partial / f"{name}.safetensors")
    moments = {
        f"{index}.{key}": value.contiguous()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    save_file(moments, partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)  # left over if killed just before the last line
        target.replace(old)
    partial.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    run: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> int:
    """Load run/state into a model, its averaged weights and its optimiser.

    Returns:
        The step at which it was saved; 0 without a saved state.

    Raises:
        TalkheadError: the state is damaged or belongs to another model.
    """
    target = run / "state"
    if not target.exists() and (run / "state.old").exists():
        (run / "state.old").replace(target)  # killed between the two renames
    if not target.exists():
        return 0
    try:
        model.load_state_dict(_load(target / "model.safetensors"))
        for name, value in _load(target / "average.safetensors").items():
            average[name].copy_(value)
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _load(target / "optimizer.safetensors").items():
            index, _, name = key.partition(".")
            states.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})
        step: int = json.loads((target / "state.json").read_text(encoding="utf-8"))["step"]
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TalkheadError(
            f"cannot resume from {target}, remove it or choose another run folder: {reason[:200]}"
        ) from error
    return step


def _load(path: Path) -> dict[str, Tensor]:
    with text_name(path) as name:
        return load_file(name)
