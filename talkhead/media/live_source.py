"""Read a pipe while it is written: a thread takes what comes, and holds a bounded amount."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.pcm_stream import PcmDecoder, PcmFormat, read_wav_header

Samples = npt.NDArray[np.float32]

READ_BYTES = 1 << 16
MAX_HELD_S = 10.0
"""Sound that waits to be taken; a source that is faster has to wait."""
LIVE_LEAD_S = 0.5
"""A source that is never this far ahead of the clock sends sound as it happens."""


class LiveSource:
    """The sound of a pipe, taken as it comes.

    Args:
        descriptor: the open pipe.
        pcm: the format of raw samples; None for a wav stream.
    """

    def __init__(self, descriptor: int, pcm: PcmFormat | None = None) -> None:
        self._descriptor, self._format = descriptor, pcm
        self._error: TalkheadError | None = None
        self._held: deque[Samples] = deque()
        self._num_held = self._num_read = 0
        self._first_s: float | None = None
        self._lead_s = 0.0
        self._changed = threading.Condition()
        self._is_begun = self._is_closed = self._is_over = False
        # The thread may be blocked in a read when the process ends: nothing waits for it.
        threading.Thread(target=self._work, name="sound", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the first bytes, and return whether they came.

        Raises:
            TalkheadError: the stream is empty, or its header cannot be read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_begun or self._error, timeout_s)
            if self._error is not None:
                raise self._error
            return self._is_begun

    @property
    def format(self) -> PcmFormat:
        """The format of the samples; waits for the header, and raises as `wait` does."""
        self.wait()
        assert self._format is not None
        return self._format

    def wait_for_samples(self) -> None:
        """Wait for the first sample, which may be any time after the header.

        Raises:
            TalkheadError: the stream ends without one.
        """
        self.wait()
        with self._changed:
            self._changed.wait_for(lambda: self._num_held or self._is_over)
            if not self._num_held:
                raise TalkheadError("the sound has no samples: record it again")

    def skip_old(self, keep_s: float) -> None:
        """Drop what a source that sends sound as it happens has sent so far, but the last of it.

        What a file or a program sends faster is kept: it waits for its time.
        """
        with self._changed:
            if self._lead_s < LIVE_LEAD_S and self._format is not None and not self._is_over:
                self._drop(self._num_held - round(keep_s * self._format.rate_hz))

    def _drop(self, count: int) -> None:
        while count > 0:
            block = self._held.popleft()
            if len(block) > count:
                self._held.appendleft(block[count:])
            self._num_held -= min(len(block), count)
            count -= len(block)

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

    @property
    def num_waiting(self) -> int:
        """Samples that were read and not taken."""
        return self._num_held

    @property
    def is_full(self) -> bool:
        """Whether no more is read until some is taken."""
        return self._format is not None and (self._num_held >= MAX_HELD_S * self._format.rate_hz)

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

    def _work(self) -> None:
        try:
            self._begin()
            self._read_all(PcmDecoder(self.format))
        except TalkheadError as error:
            self._error = error
        except OSError:
            pass  # the pipe was closed: what came before is the whole stream
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _begin(self) -> None:
        if self._format is None:
            found, first = read_wav_header(self._read_exactly), b""
        else:
            found, first = self._format, os.read(self._descriptor, READ_BYTES)
            if not first:
                raise TalkheadError("the sound is empty: the program before the pipe wrote nothing")
        with self._changed:
            self._format, self._first, self._is_begun = found, first, True
            self._changed.notify_all()

    def _read_all(self, decoder: PcmDecoder) -> None:
        data = self._first
        while not decoder.is_over:
            self._hold(decoder.decode(data))
            if self._is_closed:  # perhaps while it waited; the descriptor may be another file now
                return
            data = os.read(self._descriptor, READ_BYTES)
            if not data:
                self._hold(decoder.decode(b"", is_last=True))
                return
        while data and not self._is_closed:  # what follows the samples in a file
            data = os.read(self._descriptor, READ_BYTES)

    def _hold(self, block: Samples) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self.is_full or self._is_closed)
            if not len(block) or self._is_closed:
                return
            now_s = time.monotonic()
            self._first_s = now_s if self._first_s is None else self._first_s
            self._num_read += len(block)
            read_s = self._num_read / self.format.rate_hz
            self._lead_s = max(self._lead_s, read_s - (now_s - self._first_s))
            self._held.append(block)
            self._num_held += len(block)
            self._changed.notify_all()
