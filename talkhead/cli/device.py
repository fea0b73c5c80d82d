"""Device and dtype are resolved here, once, and passed down."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import torch

MAX_DEFAULT_WORKERS = 8

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

DeviceOption = Annotated[
    DeviceName, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
DtypeOption = Annotated[
    DtypeName, typer.Option("--dtype", help="Precision; auto takes the fastest that is safe.")
]


def resolve_device(name: DeviceName) -> torch.device:
    """Turn the word of an option into a device.

    Raises:
        TalkheadError: this machine (or this build of torch) does not have it.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, is_there in there.items() if is_there))
    if not there[name]:
        raise TalkheadError(f"this machine has no {name} device: use --device cpu, or auto")
    return torch.device(name)


def resolve_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """Turn the word of an option into a dtype.

    "auto" is bfloat16 where the hardware multiplies it faster than float32, and else float32.
    """
    import torch

    if name == "auto":
        return torch.bfloat16 if is_bfloat16_fast(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


@functools.cache
def share_cores() -> None:
    """Give each of the two stages of rendering that compute half of the cores.

    They work side by side, each in a thread: two teams that both want every core wait for each
    other more than they gain. Said twice, it is done once.
    """
    import torch

    torch.set_num_threads(max(torch.get_num_threads() // 2, 1))


def usable_cores() -> int:
    """Return how many worker processes fit this machine: one per core, up to 8."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(count or 1, MAX_DEFAULT_WORKERS)


def is_bfloat16_fast(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 (on x86: AMX or AVX-512 BF16)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Underscored in torch, and not there in every build.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
