"""An iterator that works ahead of its reader, in a thread: stages of a pipeline side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")

POLL_S = 0.05
"""How soon an abandoned thread is noticed to have ended."""


def run_ahead(source: Iterable[Item], depth: int = 1) -> Generator[Item, None, None]:
    """Yield the items of an iterable that is read in a thread of its own.

    Order and items stay the same. An error of the source is raised where its item would have come;
    a reader that stops early ends the thread, after the item that is being made, and closes the
    source there, as a generator wants it.

    Args:
        source: read and closed by the thread alone.
        depth: items that wait for the reader at most; one more is being made.
    """
    waiting: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
    is_over = threading.Event()

    def work() -> None:
        if is_over.is_set():
            return
        end: BaseException | None = None
        try:
            for item in source:
                waiting.put((item,))
                if is_over.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised where it is read
            end = error
        try:
            if isinstance(source, Generator):
                source.close()
        except BaseException as error:  # noqa: BLE001 - the same
            end = end or error
        waiting.put(end)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    try:
        # In here: a signal may come while it starts, and what it has begun must end all the same.
        thread.start()
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        is_over.set()
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                waiting.get(timeout=POLL_S)
