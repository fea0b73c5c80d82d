"""What a batch has made, kept beside it: a batch that is given again goes on where it was.

Every folder of videos has a journal, `.talkhead-batch.jsonl`, with one JSON object a line, and a
lock. A line says what a video is called, the key of what it was made from, its size and time, and
the facts about it. It is written before the video gets its name (state `made`) and after (`done`):
a video that is there and belongs to no line was not made by a batch, and is not touched.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from talkhead.errors import TalkheadError
from talkhead.fields import build_config

JOURNAL_NAME = ".talkhead-batch.jsonl"
LOCK_NAME = ".talkhead-batch.lock"
HIDDEN = ".talkhead-"
"""How the names of files begin that have no name of their own yet."""
QUIET_S = 60.0
"""A hidden file of a single render that nobody has written to for so long belongs to nobody."""

_STAGED = re.compile(r"\.talkhead-batch-[0-9a-f]{12}\.(mp4|m4v|mov)")
_PENDING = re.compile(r"\.talkhead-[0-9a-f]{12}\.(mp4|m4v|mov)")


@dataclass(frozen=True)
class Entry:
    """A line of the journal."""

    state: str
    """made: the video may have no name yet; done: it has."""
    output: str
    """Name of the video in the journal's folder."""
    key: str
    size: int
    """Of the file, in bytes."""
    mtime_ns: int
    facts: dict[str, Any]


class Journal:
    """The journal of one folder, which nobody else writes to meanwhile.

    Args:
        folder: an existing folder.

    Raises:
        TalkheadError: another batch runs there, or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TalkheadError(
                f"another batch is writing to {folder}: wait for its end, or choose another folder"
            ) from None
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            (folder / LOCK_NAME).touch()
            self._since_s = (folder / LOCK_NAME).stat().st_mtime  # by the clock of the drive
            path = folder / JOURNAL_NAME
            self.entries = {entry.output: entry for entry in _read_lines(path)}
            # Without a buffer: what a full disk refuses is not written again when this is closed.
            self._file = path.open("ab", buffering=0)
            _end_line(path, self._file)
            self.remove_leftovers()
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                raise _cannot_write(folder, error) from error
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.remove_leftovers()
        self._lock.release()

    def write(self, entry: Entry) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            TalkheadError: the disk is full, for example.
        """
        line = json.dumps(asdict(entry), ensure_ascii=True, allow_nan=False).encode() + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        self.entries[entry.output] = entry

    def remove_leftovers(self) -> None:
        """Remove hidden files that a killed batch, or a killed render, left in the folder.

        Nobody else's: their names are those that talkhead gives alone, and nobody writes to them.
        """
        for path in self.folder.glob(f"{HIDDEN}*"):
            try:
                age_s = self._since_s - path.stat().st_mtime
                staged = _STAGED.fullmatch(path.name) is not None
                pending = _PENDING.fullmatch(path.name) is not None and age_s > QUIET_S
                if path.is_file() and (staged or pending):
                    path.unlink()
            except OSError:  # it is gone already, or somebody else's
                continue


def has_made(entry: Entry, output: Path) -> bool:
    """Whether a video is still what a journal says of it."""
    try:
        found = output.stat()
    except OSError:
        return False
    same_size = found.st_size == entry.size
    return same_size and (entry.state == "done" or found.st_mtime_ns == entry.mtime_ns)


def read_entries(folder: Path) -> dict[str, Entry]:
    """Return the last line of every video in a folder's journal, without taking the lock.

    Raises:
        TalkheadError: there is a journal, and it cannot be read.
    """
    try:
        return {entry.output: entry for entry in _read_lines(folder / JOURNAL_NAME)}
    except OSError as error:
        raise TalkheadError(
            f"{folder / JOURNAL_NAME} cannot be read ({error.strerror}); check its permissions"
        ) from error


def _read_lines(path: Path) -> list[Entry]:
    """Read a journal; a line that a kill or a full disk has cut off says nothing."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n"):
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError):  # ValueError: also of text that is no UTF-8
            continue
        if isinstance(values, Mapping):
            entries += _entries_of(values, path)
    return entries


def _entries_of(values: Mapping[str, Any], path: Path) -> list[Entry]:
    try:
        facts = values.get("facts")
        known = build_config(
            _Line, {k: v for k, v in values.items() if k != "facts"}, source=str(path)
        )
    except TalkheadError:
        return []
    return [Entry(**asdict(known), facts=dict(facts) if isinstance(facts, Mapping) else {})]


@dataclass(frozen=True)
class _Line:
    """The part of a line that decides."""

    state: str
    output: str
    key: str
    size: int
    mtime_ns: int


def _end_line(path: Path, file: Any) -> None:
    """Let a new line begin after one that was cut off."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        file.write(b"\n")


def _cannot_write(folder: Path, error: OSError) -> TalkheadError:
    reason = error.strerror or error
    return TalkheadError(f"folder {folder} cannot be written to ({reason}); choose another")
