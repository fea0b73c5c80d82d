"""Write frames to a stream as they are, without a header."""

from __future__ import annotations

from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError

READER_STOPPED = (
    "the program reading the video stopped early; let it read to the end, or name a file"
)
"""What to say when the other end of a pipe is closed."""


class RawFrameWriter:
    """Write frames as raw bytes, rgb24 in ffmpeg's terms: row by row, three bytes per pixel.

    Nothing else is written, neither sound nor a header. Use it as a context manager.
    """

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target

    def __enter__(self) -> RawFrameWriter:
        return self

    def write(self, frames: npt.NDArray[np.uint8]) -> None:
        """Append frames: uint8, RGB, shape = (T, H, W, 3) or (H, W, 3).

        Raises:
            TalkheadError: the stream has no reader left, or its disk is full.
        """
        self._send(np.ascontiguousarray(frames).data.cast("B"))

    def _send(self, data: memoryview) -> None:
        try:
            self._target.write(data)
            self._target.flush()
        except OSError as error:
            reason = (
                READER_STOPPED
                if isinstance(error, BrokenPipeError)
                else f"the video could not be written ({error.strerror})"
            )
            raise TalkheadError(reason) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the stream open: whoever opened it closes it."""
