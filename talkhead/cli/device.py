"""Options that say where to compute, and how many cores there are for it."""

from __future__ import annotations

import functools
import os
from typing import Annotated, Literal

import typer

MAX_DEFAULT_WORKERS = 8

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

DeviceOption = Annotated[
    DeviceName, typer.Option("--device", help="Where to compute; auto takes a GPU if there is one.")
]
DtypeOption = Annotated[
    DtypeName, typer.Option("--dtype", help="Precision; auto takes the fastest that is safe.")
]


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
