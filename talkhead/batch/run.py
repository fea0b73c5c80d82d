"""The main loop of a batch: give items to workers, name the videos, and write the journals."""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from talkhead.batch.items import Item
from talkhead.batch.journal import Entry, Journal
from talkhead.batch.worker import Outcome, Task
from talkhead.errors import TalkheadError


class Workers(Protocol):
    """Workers that render videos, on this machine or on others."""

    def has_room(self) -> bool:
        """Return whether another item can start now."""

    def start(self, task: Task) -> None:
        """Start an item."""

    def finished(self) -> Iterator[Outcome | Task]:
        """Wait a while, then yield the items that have ended, and those to try again."""


@dataclass(frozen=True)
class Result:
    """The final state of an item."""

    item: Item
    state: Literal["done", "skipped", "failed"]
    facts: dict[str, Any]
    """Facts about the video, rendered now or earlier."""
    error: str = ""
    """Why it failed, or why it was skipped."""
    exit_code: int = 0


def known_results(items: Sequence[Item]) -> Generator[Result, None, None]:
    """Yield the results known before rendering starts."""
    for item in items:
        if item.state == "skipped":
            yield Result(item, "skipped", item.earlier.facts if item.earlier else {}, item.why)
        elif item.state == "failed":
            yield Result(item, "failed", {}, item.why, item.exit_code)


def run_batch(
    items: Sequence[Item], journals: Journals, workers: Workers, *, keep_going: bool
) -> Generator[Result, None, None]:
    """Render the waiting items.

    Args:
        items: from `check_items`; skipped and failed ones are passed over.
        journals: the journals of all output folders.
        workers: the workers that render the items.
        keep_going: start further items after one has failed.

    Yields:
        The result of each item, once, as it ends. After a failure without `keep_going`, the
        running items finish and no other starts.

    Raises:
        TalkheadError: a journal cannot be written.
    """
    waiting = deque(item for item in items if item.state == "waiting")
    by_number = {item.number: item for item in waiting}
    running: dict[int, Path] = {}
    stopped = False
    try:
        while running or (waiting and not stopped):
            while waiting and not stopped and workers.has_room():
                item = waiting.popleft()
                task = _task_of(item)
                running[item.number] = task.staged
                workers.start(task)
            for end in workers.finished():
                staged = running.pop(end.number)
                item = by_number[end.number]
                if isinstance(end, Task):
                    staged.unlink(missing_ok=True)
                    waiting.appendleft(item)
                    continue
                result = _ended(item, end, staged, journals)
                stopped = stopped or (result.state == "failed" and not keep_going)
                yield result
    finally:
        for staged in running.values():
            staged.unlink(missing_ok=True)


def _task_of(item: Item) -> Task:
    name = f".talkhead-batch-{secrets.token_hex(6)}{item.job.output.suffix.lower()}"
    # The staged name is new, so the worker has nothing to overwrite; `_give_name` decides that.
    job = replace(item.job, overwrite=False)
    return Task(item.number, job, item.job.output.with_name(name))


def _ended(item: Item, outcome: Outcome, staged: Path, journals: Journals) -> Result:
    if outcome.facts is None:
        staged.unlink(missing_ok=True)
        return Result(item, "failed", {}, outcome.error, outcome.exit_code)
    facts = {**outcome.facts, "output": str(item.job.output)}
    try:
        found = staged.stat()
        entry = Entry(
            "made", item.job.output.name, item.key, found.st_size, found.st_mtime_ns, facts
        )
        journal = journals.of(item.job.output)
        journal.write(entry)
        _give_name(staged, item.job.output, overwrite=item.job.overwrite)
        journal.write(replace(entry, state="done"))
    except OSError as error:
        staged.unlink(missing_ok=True)
        reason = f"{item.job.output} cannot be written ({error.strerror or error})"
        return Result(item, "failed", {}, reason, TalkheadError.exit_code)
    return Result(item, "done", facts)


def _give_name(staged: Path, output: Path, *, overwrite: bool) -> None:
    """Give a video its final name; without `overwrite`, never replace a new file there."""
    if overwrite:
        staged.replace(output.resolve())  # replaces a link's target, not the link
        return
    try:
        os.link(staged, output)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        if os.path.lexists(output):
            raise
        staged.rename(output)
        return
    staged.unlink()


class Journals:
    """The journals of all output folders; creates missing folders.

    Raises:
        TalkheadError: a folder cannot be created or written to, or another batch writes to it.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._stack = ExitStack()
        self._journals: dict[str, Journal] = {}
        self._folders = sorted({item.job.output.parent for item in items})

    def __enter__(self) -> Journals:
        with ExitStack() as stack:
            for folder in self._folders:
                self._make(folder)
                place = os.path.realpath(folder)
                if place not in self._journals:
                    self._journals[place] = stack.enter_context(Journal(folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, output: Path) -> Journal:
        """Return the journal of an output's folder."""
        return self._journals[os.path.realpath(output.parent)]

    @staticmethod
    def _make(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TalkheadError(
                f"folder {folder} cannot be created ({error.strerror}); choose another"
            ) from error
