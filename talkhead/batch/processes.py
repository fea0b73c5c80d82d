"""Processes of this machine that make videos; one that dies takes its own item with it alone."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType, TracebackType

from talkhead.batch.making import Maker, Outcome, Settings, Task
from talkhead.errors import TalkheadError
from talkhead.media.workers import start_worker

END_S = 10.0
"""How long a process may take to remove what it has begun."""


class _Worker:
    """A process, the way to it, and what it makes."""

    def __init__(self, settings: Settings) -> None:
        # Fresh interpreters: mediapipe's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, its_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(its_end, settings))
        with _without_ctrl_c():
            self.process.start()
        its_end.close()  # so that reading ends when the process does
        self.task: Task | None = None


class Processes:
    """Workers of this machine, started when they are needed.

    Unlike the pool of `talkhead.media.workers`, this one knows which worker has which item, and
    goes on with a new worker when one was killed.
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
        """Whether another item can be started now."""
        return sum(worker.task is not None for worker in self._workers) < self._count

    def start(self, task: Task) -> None:
        """Give an item to a worker that has none."""
        idle = [worker for worker in self._workers if worker.task is None]
        while idle:
            worker = idle.pop()
            try:
                worker.pipe.send(task)
            except OSError:  # it was killed while it had nothing to do
                self._forget(worker)
                continue
            worker.task = task
            return
        worker = _Worker(self._settings)
        worker.task = task
        self._workers.append(worker)
        with suppress(OSError):  # of one that died at once `finished` tells
            worker.pipe.send(task)

    def finished(self) -> Iterator[Outcome | Task]:
        """Wait until at least one item has ended, and yield those that have."""
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
    """Let a process begin that never hears of Ctrl-C, which is the parent's to act on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: `start_worker` alone
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_of(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return "the process that made it died, killed perhaps for want of memory: try fewer --jobs"
    return f"the process that made it died (exit code {code})"


def _work(pipe: Connection, settings: Settings) -> None:
    """Make items until no more come; runs in the worker."""
    start_worker()
    is_ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        """Unwind the stack, so that what is half-written is removed."""
        nonlocal is_ending
        # A second one, of a whole group and then of the parent, must not disturb what is done at
        # exit. SIG_IGN would: Python complains of one that came just before.
        if not is_ending:
            is_ending = True
            raise SystemExit(1)

    signal.signal(signal.SIGTERM, end)
    maker = Maker(settings)
    while True:
        try:
            task: Task = pipe.recv()
        except (EOFError, OSError):
            is_ending = True
            return
        pipe.send(maker.make(task))
