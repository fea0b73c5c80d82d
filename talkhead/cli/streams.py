"""Make stdin, stdout and stderr usable, whatever state the process starts with."""

from __future__ import annotations

import contextlib
import io
import os
import sys

_closed: set[int] = set()


def prepare_streams() -> None:
    """Open descriptors 0, 1 and 2 if they are closed, and make every file name printable.

    Otherwise the next file opened would get the number of a closed one, and what libraries write to
    stderr would end up in a video. The null device takes their place, in child processes too.
    File names that are not UTF-8 are printed with escapes.

    Call this before anything opens a file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            # This gets the lowest free number, which is `number`, as those before it are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # a closed stream
                stream.reconfigure(errors="backslashreplace")


def is_closed(number: int) -> bool:
    """Return whether a descriptor was closed when the command started."""
    return number in _closed
