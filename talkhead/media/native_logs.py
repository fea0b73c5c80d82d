"""Silence what native libraries write to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_REDIRECTING = threading.Lock()


@contextlib.contextmanager
def stderr_silenced() -> Iterator[None]:
    """Discard everything written to file descriptor 2, one thread at a time.

    Decoders and TF Lite bypass `sys.stderr`, in part before any log level applies, but the command
    line promises one line on stderr.
    """
    with _REDIRECTING:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # descriptor 2 is closed: nothing to silence
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
