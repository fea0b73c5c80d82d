"""Ray workers that render videos; the items of a lost worker go to another."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talkhead.batch.worker import Outcome, RenderWorker, Settings, Task
from talkhead.errors import TalkheadError
from talkhead.extras import require_extra

MAX_ATTEMPTS = 3
"""An item fails once this many workers have died on it."""
WAIT_S = 600.0
"""How long to wait for the first worker, or for a new one after all were lost."""
_POLL_S = 1.0
_ANSWER_S = 10.0


class RayWorkers:
    """Actors on a Ray cluster, each with its own copy of the networks.

    Args:
        settings: settings that all items share.
        address: auto, host:port or ray://host:port; local starts a cluster on this machine.
        count: number of actors; None: one per machine with cores.
        uses_gpu: whether each actor gets a GPU of its own.

    Raises:
        TalkheadError: ray is not installed, or no cluster answers at the address.
    """

    def __init__(
        self, settings: Settings, address: str, count: int | None, *, uses_gpu: bool
    ) -> None:
        require_extra("ray", "rendering on Ray")
        self._settings, self._address, self._count = settings, address, count
        self._uses_gpu = uses_gpu
        self._num_cpus = 1
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Task]] = {}
        self._losses: Counter[int] = Counter()
        self._waits_since = time.monotonic()

    def __enter__(self) -> RayWorkers:
        _check_address(self._address)
        # No usage reports to third parties.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        names = ("SIGTERM", "SIGHUP", "SIGINT")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        handlers = {number: signal.getsignal(number) for number in numbers}
        options = {"include_dashboard": False} if self._address == "local" else {}
        try:
            ray.init(self._address, log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TalkheadError(f"no Ray cluster answers at {self._address}: {reason}") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray installs its own
        sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        sizes = [size for size in sizes if size] or [1]
        self._count = self._count or len(sizes)
        # Ray gives a worker as many threads as cores.
        self._num_cpus = max(min(sizes) // math.ceil(self._count / len(sizes)), 1)
        for _ in range(self._count):
            self._start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        busy = [worker for worker, _ in self._running.values()]
        for worker in (*busy, *self._idle, *self._starting.values()):
            ray.kill(worker)
        ray.shutdown()

    def has_room(self) -> bool:
        """Return whether a worker is idle."""
        return bool(self._idle)

    def start(self, task: Task) -> None:
        """Give an item to an idle worker."""
        worker = self._idle.pop()
        self._running[worker.make.remote(_absolute(task))] = worker, task

    def finished(self) -> Iterator[Outcome | Task]:
        """Wait up to a second for an event; yield items that ended or lost their worker.

        Raises:
            TalkheadError: the cluster provides no worker.
        """
        import ray

        known = [*self._starting, *self._running]
        ready, _ = ray.wait(known, num_returns=1, timeout=_POLL_S)
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
                continue
            worker, task = self._running.pop(reference)
            try:
                outcome: Outcome = ray.get(reference)
            except ray.exceptions.RayActorError:
                self._start_worker()
                yield self._lost(task)
                continue
            self._idle.append(worker)
            yield outcome
        if self._running or self._idle:
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > WAIT_S:
            raise TalkheadError(
                f"the Ray cluster at {self._address} has provided no worker for {WAIT_S:.0f} s:"
                " check `ray status`; finished videos are kept"
            )

    def _start_worker(self) -> None:
        import ray

        actor = ray.remote(RenderWorker).options(
            num_cpus=self._num_cpus,
            num_gpus=1 if self._uses_gpu else 0,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        worker = actor.remote(self._settings)
        self._starting[worker.__ray_ready__.remote()] = worker

    def _welcome(self, reference: Any) -> None:
        import ray

        worker = self._starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayActorError:
            self._start_worker()
            return
        self._idle.append(worker)

    def _lost(self, task: Task) -> Outcome | Task:
        """Return the item for another attempt, or its failure after the last one."""
        self._losses[task.number] += 1
        if self._losses[task.number] < MAX_ATTEMPTS:
            return task
        message = f"{MAX_ATTEMPTS} workers died on this video, possibly for lack of memory"
        return Outcome(task.number, None, message, TalkheadError.exit_code)


def _check_address(address: str) -> None:
    """Refuse an address where no server listens, which Ray would retry for minutes.

    Raises:
        TalkheadError: the address is malformed, or no server answers.
    """
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise TalkheadError(
            f"the Ray address must be auto, local, host:port or ray://host:port, not {address}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise TalkheadError(
            f"no Ray cluster answers at {address}: {error.strerror or error}"
        ) from error


def _absolute(task: Task) -> Task:
    """Make an item's paths absolute, so that other machines find its files."""
    job = task.job
    places: dict[str, Any] = {
        field.name: value.absolute()
        for field in dataclasses.fields(job)
        if isinstance(value := getattr(job, field.name), Path)
    }
    if job.pose not in ("natural", "still"):
        places["pose"] = str(Path(job.pose).absolute())
    job = dataclasses.replace(job, **places)
    return dataclasses.replace(task, job=job, staged=task.staged.absolute())
