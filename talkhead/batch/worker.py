"""Render the videos of a batch in one process, which loads the networks only once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.errors import TalkheadError, fault_of_machine
from talkhead.jobs.render_job import RenderJob, check_job, render_job

if TYPE_CHECKING:
    from talkhead.pipelines import FacePipeline


@dataclass(frozen=True)
class Settings:
    """Settings that all items of a batch share."""

    weights: str
    """Name or folder, as the worker process resolves it."""
    device: str
    dtype: str
    offline: bool
    shares: int
    """Number of processes that share the machine's cores."""
    threads: int | None = None
    """Threads of all processes together; None for one per core."""


@dataclass(frozen=True)
class Task:
    """An item on its way to a worker."""

    number: int
    job: RenderJob
    staged: Path
    """Temporary path of the video until it gets its final name."""


@dataclass(frozen=True)
class Outcome:
    """The result of one item."""

    number: int
    facts: dict[str, Any] | None
    """None if the item failed."""
    error: str = ""
    exit_code: int = 0


class RenderWorker:
    """Renders one video after another with the same networks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipeline: FacePipeline | None = None
        self._weights: Path | None = None
        self._shares_cores = False

    def make(self, task: Task) -> Outcome:
        """Render one video; an error that the user can act on becomes the item's failure."""
        try:
            self._share_cores()
            checked = check_job(task.job)
            facts = render_job(checked, self._load, task.staged, folder=self._folder())
            _reach_the_disk(task.staged)
        except Exception as error:
            outcome = _failure(task, error)
            if outcome is None:
                raise
            return outcome
        facts["device"] = str(self._load().device)
        facts["dtype"] = str(self._load().dtype).removeprefix("torch.")
        return Outcome(task.number, facts)

    def _share_cores(self) -> None:
        """Divide torch's threads among the processes."""
        if not self._shares_cores:
            import torch

            from talkhead.device import divide_threads

            if self._settings.threads is not None:
                torch.set_num_threads(self._settings.threads)
            divide_threads(self._settings.shares)
            self._shares_cores = True

    def _load(self) -> FacePipeline:
        if self._pipeline is None:
            from talkhead.device import resolve_device, resolve_dtype
            from talkhead.pipelines import FacePipeline

            device = resolve_device(self._settings.device)
            dtype = resolve_dtype(self._settings.dtype, device)
            self._pipeline = FacePipeline.from_folder(self._folder(), device=device, dtype=dtype)
        return self._pipeline

    def _folder(self) -> Path:
        """Find the weights; verifies the digests of their files on the first call only."""
        if self._weights is None:
            from talkhead.weights import resolve_weights

            self._weights = resolve_weights(self._settings.weights, offline=self._settings.offline)
        return self._weights


def _failure(task: Task, error: Exception) -> Outcome | None:
    """Say why an item failed; None of a bug."""
    code = TalkheadError.exit_code
    if (fault := fault_of_machine(error)) is not None:
        return Outcome(task.number, None, fault, code)
    if isinstance(error, TalkheadError):
        return Outcome(task.number, None, str(error), error.exit_code)
    if not isinstance(error, OSError):
        return None
    where = f": {error.filename}" if error.filename else ""
    return Outcome(task.number, None, f"{error.strerror or error}{where}", code)


def _reach_the_disk(path: Path) -> None:
    """Flush the video to disk, so that the journal stays correct even after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
