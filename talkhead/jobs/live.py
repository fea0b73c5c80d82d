"""The loop of a live video: sound in, frames out, in time.

One thread takes the sound and predicts motion; the caller's renders and writes. Where it cannot
keep up, frames are dropped: the last one is written again, so that the video keeps time.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from talkhead.jobs.live_clock import FrameBudget, LiveClock
from talkhead.media.live_resampler import LiveMixer
from talkhead.media.live_source import LiveSource

if TYPE_CHECKING:
    from talkhead.media.live_video import LiveWriter
    from talkhead.pipelines.live_stream import DueFrame, FaceStream

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

DELAY_S = 0.4
"""A frame that would be out later than this after its moment is dropped."""
BLOCK_S = 0.04
"""Sound is taken in blocks of at most this length."""
QUEUE_BLOCKS = 50
POLL_S = 0.02


@dataclass
class LiveReport:
    """What was written."""

    frames: int = 0
    dropped: int = 0
    """Frames in whose place the last one was written again."""
    filled_s: float = 0.0
    """Silence that took the place of sound that did not come."""


@dataclass(frozen=True)
class _Heard:
    """A block of sound as it came, and the frames that it made due."""

    sound: Samples
    due: list[DueFrame]


class LiveLoop:
    """Runs a face on the sound of a source until it ends.

    Args:
        source: the sound.
        stream: the face, at the sound's rate.
        writer: takes the frames, which lose the last column or row of an odd size.
        pace: keep the time of the clock: hold back a source that is faster, fill in for one that
            stalls, and drop frames where rendering is slower. False renders all that comes, as
            fast as possible, with the same result every time.
        on_frame: called for every written frame with its number, and whether it is new.
    """

    def __init__(
        self,
        source: LiveSource,
        stream: FaceStream,
        writer: LiveWriter,
        *,
        pace: bool = True,
        on_frame: Callable[[int, bool], None] | None = None,
    ) -> None:
        self._source, self._stream, self._writer, self._pace = source, stream, writer, pace
        self._on_frame = on_frame or (lambda number, is_new: None)
        self._rate_hz = source.format.rate_hz
        self.clock = LiveClock(self._rate_hz)
        self.report = LiveReport()
        self._budget = FrameBudget(DELAY_S)
        self._mixer = LiveMixer(self._rate_hz, source.format.num_channels)
        self._queue: queue.Queue[_Heard | BaseException | None] = queue.Queue(QUEUE_BLOCKS)
        self._is_over, self._is_stopped = threading.Event(), False
        self._sound: deque[Samples] = deque()
        self._num_written = 0
        """Samples that were written."""
        self._shown: Pixels | None = None

    def run(self) -> LiveReport:
        """Write the video up to the end of the sound.

        SIGINT and SIGTERM end the sound; what was heard is written before they are raised.

        Raises:
            BrokenPipeError: the reader of the video has closed it.
            TalkheadError: the video cannot be written.
        """
        thread = threading.Thread(target=self._hear, name="hear", daemon=True)
        try:
            with self._ending_on_signals():
                thread.start()
                self._write_all()
        finally:
            self._is_over.set()
            self._source.close()
            while thread.is_alive():  # it may be blocked on a full queue
                with suppress(queue.Empty):
                    self._queue.get(timeout=POLL_S)
        return self.report

    @contextmanager
    def _ending_on_signals(self) -> Iterator[None]:
        """Let the first SIGINT or SIGTERM end the sound only, and raise it when all is written.

        It must not stop the writer in the middle of a frame. A second one acts at once.
        """
        caught: list[int] = []
        before: dict[int, Any] = {}

        def end(number: int, _frame: FrameType | None) -> None:
            caught.append(number)
            self._is_stopped = True
            signal.signal(number, before[number])

        if threading.current_thread() is threading.main_thread():
            for number in map(int, (signal.SIGINT, signal.SIGTERM)):
                before[number] = signal.getsignal(number)
                if callable(before[number]):
                    signal.signal(number, end)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for number in caught:
            before[number](number, None)

    def _hear(self) -> None:
        end: BaseException | None = None
        try:
            while not (self._source.is_over or self._is_stopped or self._is_over.is_set()):
                block = self._next_block()
                if len(block):
                    hurry = self._pace and self.clock.is_behind(self._source.num_waiting)
                    due = list(self._stream.hear(self._mixer.mix(block), hurry=hurry))
                    self._queue.put(_Heard(block, due))
            if not self._is_over.is_set():
                empty = np.zeros((0, self._source.format.num_channels), np.float32)
                self._queue.put(_Heard(empty, list(self._stream.hear_end())))
        except BaseException as error:  # noqa: BLE001 - raised again in the other thread
            end = error
        self._queue.put(end)

    def _next_block(self) -> Samples:
        """Return the next samples, (n, channels): sound, or silence in its place, or none yet."""
        most = round(BLOCK_S * self._rate_hz)
        if not self._pace:
            return self._source.take(most, POLL_S)
        late = self.clock.num_late(self._source.num_waiting, is_full=self._source.is_full)
        if late:
            self._source.take(late, 0)
        allowed = self.clock.num_allowed()
        if allowed < most / 4:
            time.sleep(POLL_S / 2)
            return self._source.take(0, 0)
        block = self._source.take(min(allowed, most), POLL_S)
        self.clock.took(len(block))
        if not len(block) and not self._source.is_over and (missing := self.clock.num_missing()):
            self.clock.filled(missing)
            self.report.filled_s += missing / self._rate_hz
            return np.zeros((missing, self._source.format.num_channels), np.float32)
        return block

    def _write_all(self) -> None:
        is_over = False
        while not is_over:
            heard, is_over = self._taken()
            due: list[DueFrame] = []
            for each in heard:
                self._sound.append(each.sound)
                due += each.due
            if due:
                self._show(due)

    def _taken(self) -> tuple[list[_Heard], bool]:
        """Wait for a block; return it with all that wait, and whether they are the last."""
        found: list[_Heard] = []
        item = self._queue.get()
        while True:
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return found, True
            found.append(item)
            if not self._pace:
                return found, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return found, False

    def _show(self, due: list[DueFrame]) -> None:
        """Render the frames that are still due, and write all, with repeats for the others."""
        chosen = set(range(len(due)))
        if self._pace:
            now_s, fps = self.clock.elapsed_s, self._stream.fps
            moments = [float((frame.number + Fraction(1, 2)) / fps) for frame in due]
            chosen = self._budget.choose(due, [now_s - moment for moment in moments])
        if self._shown is None:
            chosen.add(0)
        for index, frame in enumerate(due):
            is_new = index in chosen
            if is_new:
                started_s = time.monotonic()
                self._shown = self._stream.render(frame)
                self._budget.measured(time.monotonic() - started_s)
            self._write(frame.number)
            self.report.dropped += not is_new
            self._on_frame(frame.number, is_new)

    def _write(self, number: int) -> None:
        assert self._shown is not None
        height, width = (side - side % 2 for side in self._shown.shape[:2])
        end = round((number + 1) * self._rate_hz / self._stream.fps)
        self._writer.write(self._shown[:height, :width], self._next_sound(end))
        self.report.frames += 1

    def _next_sound(self, end: int) -> Samples:
        """Return the sound up to a sample of the stream; less where the sound has ended."""
        missing = end - self._num_written
        parts = [np.zeros((0, self._source.format.num_channels), np.float32)]
        while missing > 0 and self._sound:
            block = self._sound.popleft()
            if len(block) > missing:
                self._sound.appendleft(block[missing:])
                block = block[:missing]
            parts.append(block)
            missing -= len(block)
            self._num_written += len(block)
        return np.concatenate(parts)
