"""Frames per network call, and windows at a time: fewer where memory is short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import torch

from talkhead.device import keep_freed_memory, use_one_thread
from talkhead.errors import TalkheadError
from talkhead.geometry.windows import WINDOW_FRAMES
from talkhead.landmarks2video.stage_warp import opencv_in_one_thread
from talkhead.media.pool import map_in_order

log = logging.getLogger(__name__)

MAX_BYTES = 3 * 2**29
"""About how much memory the windows that are computed at a time may take."""
_WORKER_BYTES = 140 * 2**20
"""What a window takes beside its frames: features of the networks, and a part of the composite."""

WINDOW_BYTES = 2**25
"""About how much memory the frames of a window may take on a CPU."""
MIN_WINDOW_FRAMES = 4
"""With fewer, the networks take longer for each frame."""
DEVICE_WINDOW_FRAMES = 48
"""Frames per window on a device that needs many to be busy."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def compute_in_order(
    work: Callable[[Item], Result],
    source: Generator[Item, None, None],
    device: torch.device,
    num_values: int,
    num_workers: int | None = None,
) -> Generator[Result, None, None]:
    """Yield what `work` makes of each window, in order, with several windows at a time.

    On the CPU each window is computed by one thread of torch, so the results are the same for any
    number of workers. See `talkhead.media.pool.map_in_order`.

    Args:
        work: makes a result from a window; called in several threads at a time.
        source: the windows.
        device: where the networks compute.
        num_values: number of values of one frame.
        num_workers: number of threads; None for as many as suit the device, 0 to compute a window
            when it is asked for, in the caller's thread.
    """
    if num_workers is None:
        num_workers = _num_workers(device, num_values)
    if device.type != "cpu":
        yield from map_in_order(work, source, num_workers)
        return
    keep_freed_memory()
    with opencv_in_one_thread():
        yield from map_in_order(work, source, num_workers, use_one_thread)


def batch_frames(device: torch.device) -> int:
    """Return for how many frames the networks are called at a time, at most."""
    return WINDOW_FRAMES if device.type == "cpu" else DEVICE_WINDOW_FRAMES


def window_frames(device: torch.device, num_values: int) -> int:
    """Return how many frames a window has on a device.

    Args:
        device: where the networks compute.
        num_values: number of values of one frame: windows of large pictures are shorter; 0 for
            what is no picture.
    """
    most = batch_frames(device)
    if device.type != "cpu":
        return most
    return min(max(WINDOW_BYTES // max(num_values, 1), MIN_WINDOW_FRAMES), most)


def _num_workers(device: torch.device, num_values: int) -> int:
    """Return how many windows to compute at a time."""
    if device.type != "cpu":
        return 2  # one prepares while the other waits for the device
    each = _WORKER_BYTES + 2 * window_frames(device, num_values) * num_values
    return max(min(torch.get_num_threads(), MAX_BYTES // each), 1)


@dataclass
class BatchLimit:
    """Number of frames that fit in a device's memory at a time; lowered when it runs out."""

    num_frames: int = WINDOW_FRAMES

    def lower(self, device: torch.device, error: torch.OutOfMemoryError, tried: int) -> None:
        """Halve the limit, and log a warning; not again for a limit that another thread lowered.

        Args:
            device: whose memory ran out.
            error: what it raised.
            tried: the limit at which it did.

        Raises:
            TalkheadError: a single frame does not fit.
        """
        if self.num_frames < tried:
            return
        if self.num_frames == 1:
            raise TalkheadError(
                f"{device} has too little memory for a single frame: close other programs that use"
                " it, or use the CPU"
            ) from error
        self.num_frames //= 2
        log.warning(
            "%s is out of memory: continuing with %d frames at a time", device, self.num_frames
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()
