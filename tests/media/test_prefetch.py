import threading
from collections.abc import Iterator

import pytest

from talkhead.media.prefetch import run_ahead


def test_items_come_in_their_order_and_none_is_lost() -> None:
    for depth in (1, 3):
        assert list(run_ahead(iter(range(50)), depth)) == list(range(50))
    assert list(run_ahead([])) == []
    assert list(run_ahead([None, (), False])) == [None, (), False]


def test_the_source_works_in_another_thread_before_it_is_asked() -> None:
    is_second_made = threading.Event()
    threads = set()

    def source() -> Iterator[int]:
        threads.add(threading.current_thread())
        yield 0
        is_second_made.set()
        yield 1

    items = run_ahead(source())
    assert next(items) == 0
    assert is_second_made.wait(10)
    assert list(items) == [1]
    assert threading.current_thread() not in threads


def test_no_more_is_made_than_may_wait() -> None:
    made = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = run_ahead(source(), depth=2)
    assert next(items) == 0
    items.close()
    # One read, two queued, one being queued, and one more after the end.
    assert len(made) <= 5


def test_an_error_is_raised_where_its_item_would_have_come() -> None:
    def source() -> Iterator[int]:
        yield 0
        raise ValueError("broken")

    items = run_ahead(source())
    assert next(items) == 0
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_a_reader_that_stops_closes_the_source_and_ends_its_thread() -> None:
    closed_by = []
    before = threading.active_count()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed_by.append(threading.current_thread())

    items = run_ahead(source())
    assert next(items) == 0
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before
    assert len(closed_by) == 1
    assert closed_by[0] is not threading.current_thread()


def test_a_thread_ends_though_its_start_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt  # like a signal

    def source() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(run_ahead(source()))
    assert threading.active_count() == before
    assert len(made) < 1000
