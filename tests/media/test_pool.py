import threading
import time
from collections.abc import Generator, Iterator

import pytest

from talkhead.media.pool import map_in_order


def square(number: int) -> int:
    return number**2


def test_results_come_in_the_order_of_the_items() -> None:
    def slower_at_first(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return number

    for num_workers in (0, 1, 2, 4):
        assert list(map_in_order(slower_at_first, range(20), num_workers)) == list(range(20))
        assert list(map_in_order(square, [], num_workers)) == []


def test_as_many_items_are_worked_on_at_a_time_as_there_are_workers() -> None:
    everyone = threading.Barrier(3)

    def meet(number: int) -> int:
        everyone.wait(10)  # fails unless three are there at a time
        return number

    assert list(map_in_order(meet, range(6), 3)) == list(range(6))


def test_each_worker_is_started_once() -> None:
    started: list[threading.Thread] = []

    def start() -> None:
        started.append(threading.current_thread())

    list(map_in_order(square, range(50), 2, start))
    assert len(started) == len(set(started)) == 2
    assert threading.current_thread() not in started


def test_without_workers_nothing_is_done_before_it_is_asked_for() -> None:
    asked: list[int] = []

    def source() -> Iterator[int]:
        for number in range(5):
            asked.append(number)
            yield number

    results = map_in_order(square, source(), 0)
    assert next(results) == 0
    assert asked == [0]


def test_no_more_is_read_than_twice_the_workers() -> None:
    read: list[int] = []

    def source() -> Generator[int, None, None]:
        for number in range(100):
            read.append(number)
            yield number

    results = map_in_order(square, source(), 2)
    assert next(results) == 0
    assert len(read) == 4
    results.close()
    assert len(read) == 4


def test_an_error_is_raised_where_its_result_would_have_come() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("broken")
        return number

    for num_workers in (0, 1, 3):
        results = map_in_order(work, range(10), num_workers)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken"):
            next(results)


def test_a_reader_that_stops_closes_the_source_and_ends_the_threads() -> None:
    is_closed = False
    before = threading.active_count()

    def source() -> Generator[int, None, None]:
        nonlocal is_closed
        try:
            yield from range(1000)
        finally:
            is_closed = True

    results = map_in_order(square, source(), 2)
    assert next(results) == 0
    assert threading.active_count() == before + 2
    results.close()
    assert threading.active_count() == before
    assert is_closed
