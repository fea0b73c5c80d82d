"""Frames per network call, fewer where memory is short."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from talkhead.errors import TalkheadError
from talkhead.geometry.windows import WINDOW_FRAMES

log = logging.getLogger(__name__)


@dataclass
class BatchLimit:
    """Number of frames that fit in a device's memory at a time; lowered when it runs out."""

    num_frames: int = WINDOW_FRAMES

    def lower(self, device: torch.device, error: torch.OutOfMemoryError) -> None:
        """Halve the limit, and log a warning.

        Raises:
            TalkheadError: a single frame does not fit.
        """
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
