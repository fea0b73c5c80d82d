"""Time of a live video: how much sound may be taken now, and which frames are still due.

Time is counted in the sound: what a source sends moves it on. The clock of the machine only keeps a
source that is faster from running ahead, and fills in silence for one that stalls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")

AHEAD_S = 0.1
"""A source may be this much ahead of the clock: blocks do not arrive evenly."""
HURRY_S = 0.12
"""Where sound waits for longer than this, the machine cannot even predict all motion."""
STALL_S = 0.25
"""A source that is this much behind has stalled: silence takes the place of its sound."""
TRIM_AFTER_S = 5.0
"""Sound that has waited for all of this time came late. It is skipped, or the delay would stay."""
TRIM_S = 0.1
"""Less than this is no delay that matters."""


class LiveClock:
    """Tells how a source and the machine's clock stand.

    Args:
        rate_hz: samples per second of the source.
        now: returns the time, seconds.
    """

    def __init__(self, rate_hz: int, now: Callable[[], float] = time.monotonic) -> None:
        self._rate_hz, self._now = rate_hz, now
        self._start_s: float | None = None
        self.num_samples = 0
        """Samples that the video has got: taken and filled in."""
        self._num_filled = 0
        self._least_waiting, self._since_s = 0, 0.0

    @property
    def elapsed_s(self) -> float:
        """Time since the first sample arrived."""
        return 0.0 if self._start_s is None else self._now() - self._start_s

    def num_allowed(self) -> int:
        """Return how many samples may be taken now; 0 for none."""
        if self._start_s is None:
            return round(AHEAD_S * self._rate_hz)
        return max(round((self.elapsed_s + AHEAD_S) * self._rate_hz) - self.num_samples, 0)

    def is_behind(self, num_waiting: int) -> bool:
        """Return whether sound waits that should have been taken long ago."""
        late = round(self.elapsed_s * self._rate_hz) - self.num_samples
        return min(late, num_waiting) > HURRY_S * self._rate_hz

    def num_missing(self) -> int:
        """Return how many samples of silence a stalled source lacks; 0 if it has not stalled."""
        return max(round((self.elapsed_s - STALL_S) * self._rate_hz) - self.num_samples, 0)

    def took(self, count: int) -> None:
        """Note that samples were taken from the source."""
        if self._start_s is None and count:
            self._start_s = self._now() - min(count / self._rate_hz, AHEAD_S)
            self._since_s = self._now()
        self.num_samples += count

    def filled(self, count: int) -> None:
        """Note that silence took the place of samples."""
        self.num_samples += count
        self._num_filled += count

    def num_late(self, num_waiting: int, *, is_full: bool) -> int:
        """Return how many samples to skip, because they came after silence had taken their place.

        Sentences that are sent whole are played whole: what waits then grows less. Only what has
        waited for `TRIM_AFTER_S` came late, and no more than was filled in.

        Args:
            num_waiting: samples that the source holds.
            is_full: whether the source cannot hold more, so that its program has to wait.
        """
        now_s = self._now()
        self._least_waiting = min(self._least_waiting, num_waiting)
        if is_full or num_waiting < TRIM_S * self._rate_hz:
            self._least_waiting, self._since_s = num_waiting, now_s
            return 0
        if now_s - self._since_s < TRIM_AFTER_S:
            return 0
        count = min(self._least_waiting, self._num_filled)
        self._num_filled -= count
        self._least_waiting, self._since_s = num_waiting - count, now_s
        return count


@dataclass
class FrameBudget:
    """Chooses the frames that can still be rendered in time.

    Attributes:
        delay_s: a frame is late this long after the moment that it shows.
        render_s: time of rendering a frame, a running mean.
    """

    delay_s: float
    render_s: float = 0.0
    _num_measured: int = field(default=0, repr=False)

    def measured(self, seconds: float) -> None:
        """Note how long a frame took."""
        self._num_measured += 1
        self.render_s += (seconds - self.render_s) / min(self._num_measured, 10)

    def choose(self, due: Sequence[Item], ages_s: Sequence[float]) -> set[int]:
        """Return the indices of the frames to render.

        A frame whose time has passed is dropped. The newest one is always rendered, so that the
        slowest machine shows something.

        Args:
            due: frames in order.
            ages_s: how long ago the moment was that each shows.
        """
        chosen: set[int] = set()
        for index, age_s in enumerate(ages_s):
            done_s = (len(chosen) + 1) * self.render_s
            if age_s + done_s <= self.delay_s:
                chosen.add(index)
        if due and not chosen:
            chosen.add(len(due) - 1)
        return chosen
