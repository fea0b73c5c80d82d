import threading
from collections.abc import Iterator
from typing import Any

import pytest

from talkhead.app.work import CancelledError, Step, run_in_steps
from talkhead.jobs.pose_source import Progress

TIMEOUT_S = 30


class Frames:
    """Frames that wait until the test lets the next one out, and note that they were closed."""

    def __init__(self, total: int) -> None:
        self.total, self.go, self.closed = total, threading.Semaphore(0), threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.total):
                assert self.go.acquire(timeout=TIMEOUT_S)
                yield number
        finally:
            self.closed.set()

    def work(self, progress: Progress) -> int:
        return sum(progress(iter(self), self.total))


def until(steps: Iterator[Step], done: int) -> Step:
    return next(step for step in steps if step.done == done)


def result_of(steps: Iterator[Step]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def test_steps_count_frames_and_estimate_the_time_left() -> None:
    frames = Frames(4)
    steps = run_in_steps(frames.work, ["rendering"], threading.Event())
    frames.go.release()
    first = until(steps, 1)
    assert (first.what, first.total, first.left_s) == ("rendering", 4, None)
    frames.go.release(2)
    third = until(steps, 3)
    assert third.left_s is not None
    assert third.left_s > 0
    frames.go.release()
    assert result_of(steps) == 0 + 1 + 2 + 3


def test_a_closed_generator_ends_the_work_at_its_next_frame() -> None:
    frames = Frames(1000)
    steps = run_in_steps(frames.work, ["rendering"], threading.Event())
    frames.go.release()
    until(steps, 1)
    steps.close()
    frames.go.release()
    assert frames.closed.wait(TIMEOUT_S)


def test_the_end_of_the_server_ends_the_work() -> None:
    frames, stop = Frames(1000), threading.Event()
    steps = run_in_steps(frames.work, ["rendering"], stop)
    frames.go.release()
    until(steps, 1)
    stop.set()
    frames.go.release()
    with pytest.raises(CancelledError):
        list(steps)
    assert frames.closed.is_set()


def test_phases_follow_each_other_and_errors_come_through() -> None:
    seen: list[str] = []

    def work(progress: Progress) -> None:
        waiting = threading.Event()
        threading.Timer(1, waiting.set).start()
        for _ in progress(iter([1]), 1):
            assert waiting.wait(TIMEOUT_S)
        list(progress(iter([1, 2]), None))
        raise ValueError("a bug")

    steps = run_in_steps(work, ["finding the face", "rendering"], threading.Event())

    def note() -> None:
        for step in steps:
            seen.append(step.what)

    with pytest.raises(ValueError, match="a bug"):
        note()
    assert "finding the face" in seen
