"""Choose the device and the precision of the networks by name."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from talkhead.errors import TalkheadError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
# Options of mallopt, in bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SETTING = threading.Lock()


def resolve_device(name: str) -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: auto (a GPU if present), cpu, cuda or mps; or one of several, as in ``cuda:1``.

    Raises:
        TalkheadError: this machine (or this build of torch) has no such device.
    """
    import torch

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, is_there in there.items() if is_there))
    kind, colon, number = name.partition(":")
    if kind not in there or (colon and not (number.isascii() and number.isdecimal())):
        raise TalkheadError(f"unknown device {name!r}: choose auto, cpu, cuda or mps")
    if not there[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise TalkheadError(f"this machine has no {name} device: choose cpu, or auto")
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype that a name stands for.

    Args:
        name: float32, bfloat16 or float16; or auto, which is bfloat16 where the hardware
            multiplies it faster than float32, and float32 elsewhere.
        device: where the networks compute.

    Raises:
        TalkheadError: the name is unknown.
    """
    import torch

    if name == "auto":
        return torch.bfloat16 if is_bfloat16_fast(device) else torch.float32
    if name not in DTYPES:
        raise TalkheadError(f"unknown precision {name!r}: choose auto, {', '.join(DTYPES)}")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def divide_threads(shares: int) -> None:
    """Divide torch's threads on the CPU among so many users, of which this one gets its share."""
    import torch

    torch.set_num_threads(max(torch.get_num_threads() // shares, 1))


def use_one_thread() -> None:
    """Let torch compute in the calling thread alone.

    Torch takes the number for threads to come as well, so another thread sets that back.
    """
    import torch

    with _SETTING:
        others = torch.get_num_threads()
        torch.set_num_threads(1)
        thread = threading.Thread(target=torch.set_num_threads, args=(others,))
        thread.start()
        thread.join()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone, for a while.

    Sums are rounded differently in several threads. What a video depends on is computed in one, so
    that it is the same on any number of cores.
    """
    import torch

    count = torch.get_num_threads()
    use_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(count)


def is_bfloat16_fast(device: torch.device) -> bool:
    """Return whether the device has bfloat16 instructions (on x86: AMX or AVX-512 BF16)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Private to torch, and missing from some builds.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep large blocks of memory that are freed, for the next tensors.

    By default it returns them to the system at once, which clears them again for the next tensor of
    that size: 10 % of the time of a render. Only glibc has this setting; elsewhere nothing changes.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # no such function: Windows, macOS, musl
    set_option(_MMAP_THRESHOLD, 2**28)
    set_option(_TRIM_THRESHOLD, 2**28)
