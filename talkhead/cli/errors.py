"""How a command ends: each known error becomes one line on stderr and an exit code.

Bugs are not caught here: they keep their traceback, and Python exits with 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import typer

from talkhead.errors import TalkheadError, fault_of_machine

INTERRUPTED = 128 + signal.SIGINT
_BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not name
_MACHINE_ERRORS = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EMFILE, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


def exit_code_of(command: Callable[[], Any]) -> int:
    """Run a command and return its exit code.

    Args:
        command: what to run; an int that it returns is its exit code.

    Returns:
        0, or the code of the error that was printed.

    Raises:
        Exception: a bug.
    """
    if not sys.warnoptions:
        # Warnings from other packages are meant for programmers; `python -W` shows them.
        warnings.simplefilter("ignore")
    _end_cleanly_on_signals()
    try:
        code = command()
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except _Ended as ending:
        return _fail(f"terminated by {signal.Signals(ending.number).name}", 128 + ending.number)
    except BrokenPipeError:
        # The reader of our output has closed it; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        if (known := _told(error)) is None:
            raise
        return _fail(*known)
    if code == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> tuple[str, int] | None:
    """Return the message and the exit code of an error, or None for a bug."""
    if (fault := fault_of_machine(error)) is not None:
        return fault, TalkheadError.exit_code
    if isinstance(error, TalkheadError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return error.format_message().rstrip(".") + _hint(error), error.exit_code
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}", TalkheadError.exit_code
    return None


def _fail(message: str, code: int) -> int:
    typer.echo(f"talkhead: {' '.join(message.split())}", err=True)
    return code


def _hint(error: typer.TyperException) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", "talkhead")
    return f" (see `{path} --help`)"


class _Ended(SystemExit):
    """A signal asked the process to end. The message has to wait: stderr may be silenced now."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _end_cleanly_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the stack, so that half-written files are removed."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)  # a second signal ends at once
        raise _Ended(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup ignores SIGHUP on purpose; only the main thread may set handlers
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):
                signal.signal(number, end)
