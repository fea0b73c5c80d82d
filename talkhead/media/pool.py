"""Work on the items of an iterable in several threads; the results come in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[Item], Result],
    source: Iterable[Item],
    num_workers: int,
    start: Callable[[], object] | None = None,
) -> Generator[Result, None, None]:
    """Yield the result of each item, in order.

    The consumer's thread reads the source. At most two items per worker are in memory. An error is
    raised where its result would have come. If the consumer stops early, the workers finish the
    items they have begun, and the source is closed if it is a generator.

    Args:
        work: makes a result from an item; called in several threads at a time.
        source: the items.
        num_workers: number of threads; with 0, the work is done when a result is asked for, in the
            consumer's thread.
        start: called once in every thread, before its first item.
    """
    closing_source: Any = closing(source) if isinstance(source, Generator) else nullcontext()
    with closing_source:
        if num_workers == 0:
            yield from map(work, source)
            return
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(num_workers, "worker", start) as pool:
            try:
                for item in source:
                    waiting.append(pool.submit(work, item))
                    if len(waiting) == 2 * num_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for result in waiting:
                    result.cancel()
