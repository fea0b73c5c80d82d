"""Load published tensor files strictly into our own definitions of the networks.

The networks behind the usual measures are published as PyTorch files. Such a file is a pickle, and
loading one may run code. So only `read_tensors` loads them, with PyTorch's restricted unpickler,
which builds tensors and plain containers and refuses everything else, and only after
`talkhead.weights` has verified the file's digest from weights.toml. We know of no publication of
the same tensors as safetensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.errors import WeightsError

Pixels = npt.NDArray[np.uint8]
ModuleT = TypeVar("ModuleT", bound=nn.Module)

_COUNTER = "num_batches_tracked"
"""Step counter of batch normalisation; old files lack it, and nothing reads it."""
_NAMES_SHOWN = 3


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a published state dict, tensors by name, to the CPU.

    Raises:
        WeightsError: the file is missing or corrupt, or holds anything but named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing: run talkhead weights download")
    try:
        # Restricted unpickler, on a file whose digest weights.toml pins: it is not published in
        # any other format.
        stored = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is not a tensor file: download it again ({why})") from error
    if not isinstance(stored, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()
    ):
        raise WeightsError(f"{path} holds something other than named tensors: download it again")
    return dict(stored)


def fill(
    build: Callable[[], ModuleT],
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    unused: Collection[str] = (),
) -> ModuleT:
    """Build a module with published tensors, as float32, frozen and in evaluation mode.

    Building it draws no random numbers.

    Args:
        build: builds the module; its tensors have the published names.
        tensors: the content of the file.
        source: the file, for the message.
        unused: names that the file may have but the module does not need.

    Raises:
        WeightsError: a tensor is missing, unknown, not a float, or has another shape.
    """
    with torch.device("meta"):
        module = build()
    wanted = module.state_dict()
    counters = {name for name in wanted if name.rpartition(".")[2] == _COUNTER}
    needed = wanted.keys() - counters
    faults = [
        *_named("missing", needed - tensors.keys()),
        *_named("unknown", tensors.keys() - wanted.keys() - set(unused)),
        *_named(
            "of another shape",
            [
                f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
                for name in wanted.keys() & tensors.keys()
                if tensors[name].shape != wanted[name].shape
            ],
        ),
        *_named(
            "not floating-point",
            [name for name in needed & tensors.keys() if not tensors[name].is_floating_point()],
        ),
    ]
    if faults:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(faults)}")
    state = {name: tensors[name].to(torch.float32) for name in needed}
    state |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def batches(frames: Pixels, size: int) -> Iterator[Pixels]:
    """Yield consecutive frames, at most `size` at a time."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def to_channels_first(frames: Pixels, device: torch.device) -> Tensor:
    """Convert uint8 frames, (T, H, W, 3), to float32 (T, 3, H, W); values stay 0 to 255."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}")
    return torch.from_numpy(frames.copy()).to(device).permute(0, 3, 1, 2).to(torch.float32)


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device


def _named(fault: str, names: Collection[str]) -> list[str]:
    """Return a message with the number of names and the first few; empty if there are none."""
    ordered = sorted(names)
    if not ordered:
        return []
    shown = ", ".join(ordered[:_NAMES_SHOWN]) + (", ..." if len(ordered) > _NAMES_SHOWN else "")
    return [f"{len(ordered)} tensor{'s' * (len(ordered) > 1)} {fault} ({shown})"]
