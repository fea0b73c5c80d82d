"""The process's own streams: stdin, stdout and stderr, whatever it was started with."""

from __future__ import annotations

import contextlib
import io
import os
import sys

_closed: set[int] = set()


def prepare_streams() -> None:
    """Open the descriptors 0, 1 and 2 where they are closed, and let any name be printed.

    The next file that is opened would get a closed one's number: what libraries write to stderr
    would then be in a video. The null device takes their places, in programs that are started too.
    Names of files that are not UTF-8 are printed with escapes.

    It is called before anything opens a file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            # The lowest free number is taken: this one, as those before it are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # a stream that somebody closed
                stream.reconfigure(errors="backslashreplace")


def is_closed(number: int) -> bool:
    """Whether a descriptor was closed when the command began."""
    return number in _closed
