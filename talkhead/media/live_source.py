"""Read a pipe while it is written: a thread takes what comes, and holds a bounded amount."""

from __future__ import annotations

import os
import threading
from collections import deque

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.pcm_stream import PcmDecoder, PcmFormat, read_wav_header

Samples = npt.NDArray[np.float32]

READ_BYTES = 1 << 16
MAX_HELD_S = 2.0
"""Sound that waits to be taken; a source that is faster has to wait."""


class LiveSource:
    """The sound of a pipe, taken as it comes.

    Args:
        descriptor: the open pipe.
        pcm: the format of raw samples; None for a wav stream, whose header is read here, however
            long it takes to come.

    Raises:
        TalkheadError: the stream is empty, or its header cannot be read.
    """

    def __init__(self, descriptor: int, pcm: PcmFormat | None = None) -> None:
        self._descriptor = descriptor
        if pcm is None:
            pcm = read_wav_header(self._read_exactly)
            first = b""
        else:
            first = os.read(descriptor, READ_BYTES)
            if not first:
                raise TalkheadError("the sound is empty: the program before the pipe wrote nothing")
        self.format = pcm
        self._decoder = PcmDecoder(pcm)
        self._held: deque[Samples] = deque()
        self._num_held = 0
        self._limit = round(MAX_HELD_S * pcm.rate_hz)
        self._changed = threading.Condition()
        self._is_closed = self._is_over = False
        # The thread may be blocked in a read when the process ends: nothing waits for it.
        self._thread = threading.Thread(target=self._work, args=(first,), daemon=True)
        self._thread.start()

    def take(self, most: int, timeout_s: float) -> Samples:
        """Return up to `most` samples, (n, channels), and wait until there are any.

        None after the timeout, or at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._num_held or self._is_over, timeout_s)
            parts: list[Samples] = [np.zeros((0, self.format.num_channels), np.float32)]
            while self._held and most > 0:
                block = self._held.popleft()
                if len(block) > most:
                    self._held.appendleft(block[most:])
                    block = block[:most]
                parts.append(block)
                most -= len(block)
                self._num_held -= len(block)
            self._changed.notify_all()
        return np.concatenate(parts)

    @property
    def is_over(self) -> bool:
        """Whether everything was taken, and nothing follows."""
        with self._changed:
            return self._is_over and not self._num_held

    def close(self) -> None:
        """Treat what has been read as the whole stream."""
        with self._changed:
            self._is_closed = self._is_over = True
            self._changed.notify_all()

    def _read_exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count and (part := os.read(self._descriptor, count - len(parts))):
            parts += part
        return parts

    def _work(self, data: bytes) -> None:
        try:
            while not self._is_closed and not self._decoder.is_over:
                if data:
                    self._hold(self._decoder.decode(data))
                data = os.read(self._descriptor, READ_BYTES)
                if not data:
                    self._hold(self._decoder.decode(b"", is_last=True))
                    break
            while data and not self._is_closed:  # what follows the samples in a file
                data = os.read(self._descriptor, READ_BYTES)
        except OSError:
            pass  # the pipe was closed: what came before is the whole stream
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _hold(self, block: Samples) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._num_held < self._limit or self._is_closed)
            if len(block) and not self._is_closed:
                self._held.append(block)
                self._num_held += len(block)
                self._changed.notify_all()
