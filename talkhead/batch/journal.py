"""A journal of rendered videos in each output folder, so that a batch can resume.

Every output folder has a lock and a journal, `.talkhead-batch.jsonl`, with one JSON object per
line. A line holds a video's name, the key of its inputs, its size, modification time and facts. It
is written once before the video gets its name (state `made`) and once after (`done`). A batch
never touches a video that no line describes, because it did not render that video.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from talkhead.atomic import HIDDEN
from talkhead.config import build_config
from talkhead.errors import TalkheadError
from talkhead.media.containers import VIDEO_OUTPUTS

JOURNAL_NAME = ".talkhead-batch.jsonl"
LOCK_NAME = ".talkhead-batch.lock"
QUIET_S = 60.0
"""A temporary file of a single render counts as abandoned after this long without a write."""

_ENDINGS = "|".join(re.escape(ending) for ending in sorted(VIDEO_OUTPUTS))
_STAGED = re.compile(rf"\.talkhead-batch-[0-9a-f]{{12}}({_ENDINGS})")
_PENDING = re.compile(rf"\.talkhead-[0-9a-f]{{12}}({_ENDINGS})")


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    state: str
    """`made`: the video may still have its temporary name; `done`: it has its final name."""
    output: str
    """File name of the video in the journal's folder."""
    key: str
    size: int
    """File size in bytes."""
    mtime_ns: int
    facts: dict[str, Any]


class Journal:
    """The journal of one folder, locked against other batches.

    Args:
        folder: an existing folder.

    Raises:
        TalkheadError: another batch holds the lock, or the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TalkheadError(
                f"another batch is writing to {folder}: wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            (folder / LOCK_NAME).touch()
            self._since_s = (folder / LOCK_NAME).stat().st_mtime  # by the file system's clock
            path = folder / JOURNAL_NAME
            self.entries = {entry.output: entry for entry in _read_lines(path)}
            # Unbuffered, so that closing does not retry a write that a full disk refused.
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

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.remove_leftovers()
        self._lock.release()

    def write(self, entry: Entry) -> None:
        """Append a line and flush it to disk before returning.

        Raises:
            TalkheadError: the line cannot be written, for example because the disk is full.
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
        """Remove temporary files that a killed batch or render left in the folder.

        Only files with talkhead's temporary names go, and only if no process still writes to them.
        """
        for path in self.folder.glob(f"{HIDDEN}*"):
            try:
                age_s = self._since_s - path.stat().st_mtime
                staged = _STAGED.fullmatch(path.name) is not None
                pending = _PENDING.fullmatch(path.name) is not None and age_s > QUIET_S
                if path.is_file() and (staged or pending):
                    path.unlink()
            except OSError:  # already gone, or not ours to delete
                continue


def has_made(entry: Entry, output: Path) -> bool:
    """Return whether a video still matches its journal entry."""
    try:
        found = output.stat()
    except OSError:
        return False
    same_size = found.st_size == entry.size
    return same_size and (entry.state == "done" or found.st_mtime_ns == entry.mtime_ns)


def read_entries(folder: Path) -> dict[str, Entry]:
    """Return the latest entry of every video in a folder's journal, without taking the lock.

    Raises:
        TalkheadError: the journal exists but cannot be read.
    """
    try:
        return {entry.output: entry for entry in _read_lines(folder / JOURNAL_NAME)}
    except OSError as error:
        raise TalkheadError(
            f"{folder / JOURNAL_NAME} cannot be read ({error.strerror}); check its permissions"
        ) from error


def _read_lines(path: Path) -> list[Entry]:
    """Read a journal, skipping lines that a kill or a full disk cut short."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n"):
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError):  # ValueError covers invalid UTF-8 too
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
    """The fields of a line that must be valid."""

    state: str
    output: str
    key: str
    size: int
    mtime_ns: int


def _end_line(path: Path, file: Any) -> None:
    """Terminate a line that was cut short, so that the next one starts cleanly."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        file.write(b"\n")


def _cannot_write(folder: Path, error: OSError) -> TalkheadError:
    reason = error.strerror or error
    return TalkheadError(f"folder {folder} is not writable ({reason}); choose another")
