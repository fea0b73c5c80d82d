"""Read an iterator ahead of its consumer in a thread, so that pipeline stages run in parallel."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")

POLL_S = 0.05
"""How often to check whether an abandoned thread has ended."""


def run_ahead(source: Iterable[Item], depth: int = 1) -> Generator[Item, None, None]:
    """Yield the items of an iterable that a background thread reads ahead.

    The items and their order do not change. An error in the source is raised where its item would
    have come. If the consumer stops early, the thread finishes the current item, closes the source
    if it is a generator, and ends.

    Args:
        source: the iterable; only the thread reads and closes it.
        depth: how many finished items may wait for the consumer; one more may be in progress.
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
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            end = error
        try:
            if isinstance(source, Generator):
                source.close()
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            end = end or error
        waiting.put(end)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    try:
        # Inside the try: the thread must also end if a signal arrives while it starts.
        thread.start()
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        is_over.set()
        while thread.is_alive():  # it may be blocked on a full queue
            with suppress(queue.Empty):
                waiting.get(timeout=POLL_S)
