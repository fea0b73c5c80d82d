"""Device options, and the number of cores to use."""

from __future__ import annotations

import functools
import gc
import os
from typing import Annotated, Literal

import typer

MAX_DEFAULT_WORKERS = 8

DeviceName = str
"""A name that `talkhead.device.resolve_device` knows, which names what is wrong with another."""
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]

DeviceOption = Annotated[
    DeviceName,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda, mps, or one of several: cuda:1; auto prefers a GPU.",
        rich_help_panel="Device",
    ),
]
DtypeOption = Annotated[
    DtypeName,
    typer.Option(
        "--dtype",
        metavar="NAME",
        help="auto, float32, bfloat16 or float16; auto takes the fastest safe one.",
        rich_help_panel="Device",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=1024,
        help="Threads to compute with on the CPU; by default one per core. The video is the same.",
        rich_help_panel="Device",
        show_default=False,
    ),
]


def use_threads(count: int | None) -> None:
    """Let PyTorch use this many threads; None leaves it one per core."""
    import torch

    if count is not None:
        torch.set_num_threads(count)


def use_one_blas_thread() -> None:
    """Let numpy and scipy multiply matrices in one thread, unless the user says otherwise.

    Theirs are small. Further threads only wait for the next one, and take up to a tenth of the time
    from those that render. Call this before numpy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def import_pipelines() -> None:
    """Import torch, diffusers and the pipelines: most of the time that a command needs to start.

    Modules stay, so looking for garbage while they are imported only takes time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import talkhead.pipelines  # noqa: F401
    finally:
        if was_enabled:
            gc.enable()


@functools.cache
def share_cores() -> None:
    """Limit PyTorch to half of the cores, because both stages run at the same time while live.

    If both stages used every core, their threads would wait for each other more than they gain.
    Further calls have no effect.
    """
    from talkhead.device import divide_threads

    divide_threads(2)


def usable_cores() -> int:
    """Return how many worker processes suit this machine: one per core, up to 8."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(count or 1, MAX_DEFAULT_WORKERS)
