from collections.abc import Callable

import pytest

from talkhead.jobs.live_clock import (
    AHEAD_S,
    STALL_S,
    TRIM_AFTER_S,
    FrameBudget,
    LiveClock,
)

RATE_HZ = 1000


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now() -> Time:
    return Time()


def clock_of(now: Callable[[], float]) -> LiveClock:
    return LiveClock(RATE_HZ, now)


def test_time_begins_with_the_first_sample(now: Time) -> None:
    clock = clock_of(now)
    now.s += 50
    assert (clock.elapsed_s, clock.num_missing()) == (0, 0)
    clock.took(20)
    assert clock.elapsed_s == pytest.approx(0.02)


def test_a_faster_source_may_not_run_ahead(now: Time) -> None:
    clock = clock_of(now)
    clock.took(clock.num_allowed())
    assert clock.num_allowed() == pytest.approx(AHEAD_S * RATE_HZ, abs=1)
    clock.took(clock.num_allowed())
    assert clock.num_allowed() == 0
    now.s += 3
    assert clock.num_allowed() == 3000


def test_silence_takes_the_place_of_a_stalled_source(now: Time) -> None:
    clock = clock_of(now)
    clock.took(20)
    now.s += STALL_S - 0.03
    assert clock.num_missing() == 0
    now.s += 1
    missing = clock.num_missing()
    assert missing == pytest.approx(970, abs=1)
    clock.filled(missing)
    assert clock.num_missing() == 0
    assert clock.num_samples == 20 + missing


def test_a_machine_that_cannot_follow_is_behind(now: Time) -> None:
    clock = clock_of(now)
    clock.took(20)
    assert not clock.is_behind(5000)  # a file waits for its time
    now.s += 0.2
    assert clock.is_behind(5000)
    assert not clock.is_behind(0)  # the source is late, not the machine


def test_sound_that_stays_late_is_skipped_once(now: Time) -> None:
    clock = clock_of(now)
    clock.took(20)
    now.s += 2
    clock.filled(clock.num_missing())
    skipped = 0
    for _ in range(int(2 * TRIM_AFTER_S * 25)):
        now.s += 0.04
        clock.took(40)
        skipped += clock.num_late(1500 - skipped, is_full=False)
    assert skipped == 1500


def test_a_sentence_that_is_sent_whole_after_a_stall_is_kept(now: Time) -> None:
    clock = clock_of(now)
    clock.took(20)
    now.s += 4
    clock.filled(clock.num_missing())
    waiting = 3000
    while waiting > 0:
        now.s += 0.04
        clock.took(40)
        waiting -= 40
        assert clock.num_late(waiting, is_full=False) == 0


def test_a_file_is_never_skipped(now: Time) -> None:
    clock = clock_of(now)
    clock.took(20)
    clock.filled(500)
    for _ in range(500):
        now.s += 0.04
        assert clock.num_late(10_000, is_full=True) == 0


def test_a_fast_machine_renders_all_and_a_slow_one_the_newest() -> None:
    ages_s = [0.36, 0.32, 0.28]
    fast, slow = FrameBudget(0.4), FrameBudget(0.4)
    fast.measured(0.02)
    slow.measured(0.3)
    assert fast.choose("abc", ages_s) == {0, 1, 2}
    assert slow.choose("abc", ages_s) == {2}
    assert slow.choose("abc", [9.0, 8.9, 8.8]) == {2}
    assert slow.choose("", []) == set()


def test_only_what_is_still_due_is_rendered() -> None:
    budget = FrameBudget(0.4)
    for _ in range(20):
        budget.measured(0.05)
    assert budget.render_s == pytest.approx(0.05)
    assert budget.choose("abcd", [0.42, 0.38, 0.34, 0.3]) == {2, 3}
