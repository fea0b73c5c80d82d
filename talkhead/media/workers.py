"""Worker processes that end with the command that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from talkhead.errors import TalkheadError


@contextmanager
def worker_pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of fresh interpreters, because mediapipe's threads do not survive a fork.

    After an exception, the workers are terminated at once, whatever they are doing.

    Raises:
        TalkheadError: a worker was killed.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        num_workers, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker
    )
    try:
        yield pool
    except BaseException as error:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        if isinstance(error, BrokenProcessPool):
            raise TalkheadError(
                "a worker process was killed, perhaps because memory ran out: run the command again"
                " with fewer workers; finished work is kept"
            ) from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """Leave Ctrl-C to the parent process, and exit when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
