"""Errors that the user can act on, and the exit code of each kind."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import ClassVar


class TalkheadError(Exception):
    """An error that the user can act on: what is wrong, with which file, and the next step.

    The message is one line without a full stop. The command line prints it after ``talkhead:`` and
    exits with `exit_code`. Any other exception is a bug and keeps its traceback.
    """

    exit_code: ClassVar[int] = 2


class NoFaceError(TalkheadError):
    """A picture has no face, or not the one that was asked for."""

    exit_code: ClassVar[int] = 3


class WeightsError(TalkheadError):
    """Weights are missing, corrupt, or do not fit the code that reads them."""

    exit_code: ClassVar[int] = 4


class BatchError(TalkheadError):
    """Part of a batch failed; the rest is done."""

    exit_code: ClassVar[int] = 5


_MEMORY_MESSAGE = (
    "memory ran out: close other programs, take a smaller picture or fewer processes at a time, or"
    " raise the limit (ulimit -v)"
)
_TEMPORARY_MESSAGE = (
    "no folder for temporary files can be written to: make room, or set TMPDIR to a folder that can"
)
# What torch, the dynamic loader, Python's threads and ffmpeg say; each in an exception of its own.
_MEMORY_WORDS = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|can't start new thread"
    r"|failed to map segment|unable to mmap|not enough memory",
    re.IGNORECASE,
)


def fault_of_machine(error: BaseException) -> str | None:
    """Say what the machine lacks, memory or a temporary folder; None of any other error.

    Libraries hide it beneath exceptions of their own, so that the causes are looked at too.
    """
    for each in _with_causes(error):
        if isinstance(each, OSError) and "No usable temporary directory" in str(each):
            return _TEMPORARY_MESSAGE
        if isinstance(each, MemoryError) or getattr(each, "errno", None) == errno.ENOMEM:
            return _MEMORY_MESSAGE
        # Our own messages, and those of the system, hold names of files, which may say anything.
        words = getattr(each, "strerror", None) or str(each)
        if not isinstance(each, TalkheadError) and _MEMORY_WORDS.search(words):
            return _MEMORY_MESSAGE
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
