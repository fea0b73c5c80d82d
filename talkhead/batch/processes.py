"""Local worker processes; if one dies, only its current item fails."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType, TracebackType

from talkhead.batch.worker import Outcome, RenderWorker, Settings, Task
from talkhead.errors import TalkheadError
from talkhead.media.workers import start_worker

END_S = 10.0
"""Grace period for a process to remove its unfinished files."""


class _Worker:
    """A process, the pipe to it, and its current task."""

    def __init__(self, settings: Settings) -> None:
        # Fresh interpreters: mediapipe's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, its_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(its_end, settings))
        with _without_ctrl_c():
            self.process.start()
        its_end.close()  # so that reading reaches EOF when the process ends
        self.task: Task | None = None


class Processes:
    """Local workers, started on demand.

    Unlike the pool of `talkhead.media.workers`, this one knows which worker has which item, and
    replaces a worker that was killed.
    """

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings, self._count = settings, count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            if error is not None or worker.task is not None:
                worker.process.terminate()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(END_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def has_room(self) -> bool:
        """Return whether another item can start now."""
        return sum(worker.task is not None for worker in self._workers) < self._count

    def start(self, task: Task) -> None:
        """Give an item to an idle worker."""
        idle = [worker for worker in self._workers if worker.task is None]
        while idle:
            worker = idle.pop()
            try:
                worker.pipe.send(task)
            except OSError:  # the worker was killed while idle
                self._forget(worker)
                continue
            worker.task = task
            return
        worker = _Worker(self._settings)
        worker.task = task
        self._workers.append(worker)
        with suppress(OSError):  # `finished` reports a worker that died at once
            worker.pipe.send(task)

    def finished(self) -> Iterator[Outcome | Task]:
        """Wait until at least one item ends, then yield all that have."""
        busy = [worker for worker in self._workers if worker.task is not None]
        ready = multiprocessing.connection.wait([worker.pipe for worker in busy])
        for worker in busy:
            if worker.pipe not in ready or worker.task is None:
                continue
            task, worker.task = worker.task, None
            try:
                yield worker.pipe.recv()
            except (EOFError, OSError):
                self._forget(worker)
                yield Outcome(
                    task.number, None, _end_of(worker.process.exitcode), TalkheadError.exit_code
                )

    def _forget(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join(END_S)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Start a child process with SIGINT blocked; the parent alone handles Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows relies on `start_worker` alone
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_of(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return "the worker process was killed, possibly for lack of memory: try fewer processes"
    return f"the worker process died (exit code {code})"


def _work(pipe: Connection, settings: Settings) -> None:
    """Render items until the pipe closes; runs in the worker."""
    start_worker()
    is_ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        """Unwind the stack, so that unfinished files are removed."""
        nonlocal is_ending
        # A second signal (the group's, then the parent's) must not disturb the cleanup at exit.
        # SIG_IGN would not do: Python complains about a signal that arrived just before it.
        if not is_ending:
            is_ending = True
            raise SystemExit(1)

    signal.signal(signal.SIGTERM, end)
    maker = RenderWorker(settings)
    while True:
        try:
            task: Task = pipe.recv()
        except (EOFError, OSError):
            is_ending = True
            return
        pipe.send(maker.make(task))
