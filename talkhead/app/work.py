"""Slow work in a thread of its own: its steps as a generator, which stops it when it is closed."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from talkhead.jobs.pose_source import Progress

ResultT = TypeVar("ResultT")

STEP_S = 0.3
"""Time between two reports."""


class CancelledError(Exception):
    """The visitor has cancelled the work, or has left."""


@dataclass(frozen=True)
class Step:
    """How far the work has come."""

    what: str
    """What is being done, for example "rendering"."""
    done: int = 0
    total: int | None = None
    """None: unknown."""
    left_s: float | None = None
    """Estimated time left of this phase; None while it is unknown."""


def run_in_steps(
    work: Callable[[Progress], ResultT], phases: Sequence[str], stop: threading.Event
) -> Generator[Step, None, ResultT]:
    """Run `work`, and yield how far it has come, a few times a second.

    If the generator is closed, the work ends with its next frame. The generator does not wait for
    that, because the server's event loop is what closes it.

    Args:
        work: gets a function that watches frames, as `render_job` takes it.
        phases: what each further use of that function stands for; the last one is repeated.
        stop: ends the work too, once it is set.

    Returns:
        What the work returned.

    Raises:
        CancelledError: `stop` was set.
        Exception: what the work raised.
    """
    running = _Work(work, phases, stop)
    # The thread shares the caller's context, which knows whose request this is.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(running.run,))
    thread.start()
    try:
        while not running.has_ended.wait(STEP_S):
            yield running.step
    finally:
        running.is_cancelled.set()
    if running.error is not None:
        raise running.error
    return running.results[0]


@dataclass
class _Work(Generic[ResultT]):
    work: Callable[[Progress], ResultT]
    phases: Sequence[str]
    stop: threading.Event
    step: Step = Step("starting")
    results: list[ResultT] = field(default_factory=list)
    error: BaseException | None = None
    has_ended: threading.Event = field(default_factory=threading.Event)
    is_cancelled: threading.Event = field(default_factory=threading.Event)
    num_phases: int = 0

    def run(self) -> None:
        try:
            self.results.append(self.work(self.watch))
        except BaseException as error:  # noqa: BLE001  # raised again where the result is awaited
            self.error = error
        finally:
            self.has_ended.set()

    def watch(self, frames: Iterable[Any], total: int | None) -> Iterable[Any]:
        what = self.phases[min(self.num_phases, len(self.phases) - 1)]
        self.num_phases += 1
        return self._watched(frames, total, what)

    def _watched(self, frames: Iterable[Any], total: int | None, what: str) -> Iterable[Any]:
        self.step, first_s = Step(what, 0, total), 0.0
        self._check()
        try:
            for done, frame in enumerate(frames, 1):
                yield frame
                self._check()
                now_s = time.monotonic()
                first_s = first_s or now_s
                left_s = None
                if total is not None and done > 1:
                    left_s = (now_s - first_s) / (done - 1) * max(total - done, 0)
                self.step = Step(what, done, total, left_s)
        finally:
            if isinstance(frames, Generator):
                frames.close()

    def _check(self) -> None:
        if self.is_cancelled.is_set() or self.stop.is_set():
            raise CancelledError
