"""What libraries beneath Python write to the terminal, kept from it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_REDIRECTING = threading.Lock()


@contextlib.contextmanager
def stderr_silenced() -> Iterator[None]:
    """Send what is written to file descriptor 2 to nowhere.

    Decoders and TF-lite write past `sys.stderr`, in part before any log level applies; the command
    line promises one line on stderr. One thread at a time.
    """
    with _REDIRECTING:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # there is no descriptor 2, so there is nothing to silence
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
