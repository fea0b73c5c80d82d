"""Store samples: in memory while they are few, in a temporary file once they are many."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError

Samples = npt.NDArray[np.float32]


class SampleSpool:
    """Samples that are appended block by block and can be read many times.

    The temporary file has no name on Linux and macOS, so not even a killed process leaves it
    behind. It goes with the object.
    """

    def __init__(self, num_channels: int, *, max_bytes: int) -> None:
        """Create it, empty.

        Args:
            num_channels: number of channels.
            max_bytes: beyond this, the samples are in a file.
        """
        self.num_samples = 0
        """Number of samples in each channel."""
        self._num_channels = num_channels
        # Lives as long as this object, and the finalizer closes it.
        self._file = tempfile.SpooledTemporaryFile(max_size=max_bytes)  # noqa: SIM115
        self.close = weakref.finalize(self, _close, self._file)

    def append(self, block: Samples) -> None:
        """Append a block, (n, channels).

        Raises:
            TalkheadError: the disk is full.
        """
        with self._disk():
            self._file.seek(0, os.SEEK_END)
            self._file.write(np.asarray(block, np.float32).tobytes())
        self.num_samples += len(block)

    def read(self, start: int, count: int) -> Samples:
        """Return samples from `start` on, shape = (n, channels); fewer than `count` at the end.

        Raises:
            TalkheadError: the disk is full.
        """
        size = 4 * self._num_channels
        with self._disk():
            self._file.seek(start * size)
            data = self._file.read(count * size)
        return np.frombuffer(data, np.float32).reshape(-1, self._num_channels).copy()

    def blocks(self, count: int) -> Iterator[Samples]:
        """Yield the samples in blocks of shape (count, channels); the last one may be shorter."""
        for start in range(0, self.num_samples, count):
            yield self.read(start, count)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TalkheadError(
                f"the sound cannot be stored in {tempfile.gettempdir()} ({error.strerror}); free"
                " some space, or set TMPDIR"
            ) from error


def _close(file: tempfile.SpooledTemporaryFile[bytes]) -> None:
    with suppress(OSError):  # what a full disk did not take is written again at the end
        file.close()
