"""Idle motion without end: what `idle_motion` draws for whole recordings, frame by frame.

Each value depends on what was heard so far only, never on how the frames were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.idle_motion import (
    BLINK_APART_S,
    BLINK_IN_PAUSE,
    BLINK_S,
    BLINK_WAIT_S,
    BROW_S,
    BROW_THRESHOLD,
    HEAD_AXES,
    MAX_BROW_RAISE,
    MAX_STIR,
    PAUSE,
    SILENCE_S,
    STILL_SHARE,
    STIR_PACE,
    STIR_S,
    STIR_THRESHOLD,
    SYLLABLE_S,
    TALK_GAIN,
    HeadMotion,
    HeadStyle,
    blink_shape,
    limited,
)

Floats = npt.NDArray[np.float32]

GROW_S = 0.8
"""The first frame is the picture itself; the motion fades in over this time."""
USUAL_LOUDNESS = 0.5
"""Smoothed loudness of speech, from 0 to 1, until a louder one was heard."""


@dataclass(frozen=True)
class IdleFrames:
    """Idle motion of new frames.

    Attributes:
        head: T frames.
        blinks: (T,), how far the eyes are closed, from 0 to 1.
        brows: (T,), how far the eyebrows are raised, eye distances.
    """

    head: HeadMotion
    blinks: Floats
    brows: Floats


class IdleStream:
    """Draws head motion, blinks and eyebrow raises from a seed, without end.

    Args:
        style: statistics of the head motion in the training clips.
        rate_hz: frames per second.
        seed: random seed.
        strength: scale of the head motion; 0 for none.
        blink_per_minute: 0 for none.
    """

    def __init__(
        self,
        style: HeadStyle,
        rate_hz: float,
        seed: int,
        strength: float = 1.0,
        blink_per_minute: float = 16.0,
    ) -> None:
        self._head = _Head(style, rate_hz, seed, strength)
        self._blinks = _Blinks(rate_hz, seed, blink_per_minute)
        self._brows = _Brows(rate_hz)

    def next(self, activity: Floats) -> IdleFrames:
        """Return the motion of the next frames.

        Args:
            activity: (T,), loudness of the voice from 0 to 1.
        """
        voice = [float(value) for value in activity]
        values = np.array([self._head.next(each) for each in voice]).reshape(-1, HEAD_AXES)
        values = values.astype(np.float32)
        head = HeadMotion(values[:, :3], np.pad(values[:, 3:], ((0, 0), (0, 1))))
        blinks = np.array([self._blinks.next(each) for each in voice], np.float32)
        brows = np.array([self._brows.next(each) for each in voice], np.float32)
        return IdleFrames(head, blinks, brows)


class _Smoothed:
    """A running mean that forgets with a time constant, twice over."""

    def __init__(self, time_s: float, rate_hz: float) -> None:
        self._share = 1 - np.exp(-1 / max(time_s * rate_hz, 1e-6))
        self._first = self.value = 0.0

    def add(self, value: float) -> float:
        self._first += self._share * (value - self._first)
        self.value += self._share * (self._first - self.value)
        return float(self.value)


class _SmoothNoise:
    """Noise of unit variance with a Gaussian autocorrelation, read onwards at any pace."""

    def __init__(self, channels: int, sigma: float, rng: np.random.Generator) -> None:
        margin = max(int(4 * sigma), 1)
        kernel = np.exp(-0.5 * np.square(np.arange(-margin, margin + 1) / sigma))
        self._kernel = kernel / np.sqrt(np.square(kernel).sum())
        self._rng = rng
        self._noise = rng.normal(size=(len(kernel), channels))
        self._before = self._kernel @ self._noise
        self._after = self._advance()
        self._share = 0.0

    def next(self, pace: float) -> npt.NDArray[np.float64]:
        """Return the present value, (channels,), and move on by `pace`, at most 1."""
        value = self._before + self._share * (self._after - self._before)
        self._share += pace
        if self._share >= 1:
            self._share -= 1
            self._before, self._after = self._after, self._advance()
        return np.asarray(value)

    def _advance(self) -> npt.NDArray[np.float64]:
        self._noise = np.roll(self._noise, -1, axis=0)
        self._noise[-1] = self._rng.normal(size=self._noise.shape[1])
        return np.asarray(self._kernel @ self._noise)


class _Head:
    def __init__(self, style: HeadStyle, rate_hz: float, seed: int, strength: float) -> None:
        self._style, self._rate_hz, self._strength = style, rate_hz, strength
        rngs = [np.random.default_rng([seed, 1, number]) for number in range(3)]
        self._slow = _SmoothNoise(HEAD_AXES, style.slow_s * rate_hz, rngs[0])
        self._fast = _SmoothNoise(HEAD_AXES, style.fast_s * rate_hz, rngs[1])
        self._stir = _SmoothNoise(1, STIR_S * rate_hz, rngs[2])
        self._voice = _Smoothed(0.25, rate_hz)
        self._talk = _Smoothed(SILENCE_S / 2, rate_hz)
        self._loudest, self._number = USUAL_LOUDNESS, 0

    def next(self, activity: float) -> Floats:
        voice, talk = self._voice.add(activity), self._talk.add(activity)
        self._loudest = max(self._loudest, voice)
        lively = self._style.pause + (1 - self._style.pause) * min(voice / self._loudest, 1)
        talks = min(TALK_GAIN * talk / self._loudest, 1)
        noise = float(self._stir.next(1.0)[0])
        stirs = STIR_PACE * min(max(noise - STIR_THRESHOLD, 0), MAX_STIR)
        pace = talks + (1 - talks) * stirs
        slow = self._style.slow @ self._slow.next(pace)
        fast = self._style.fast @ self._fast.next(pace)
        grow = min(self._number / (GROW_S * self._rate_hz), 1.0)
        self._number += 1
        values = self._strength * STILL_SHARE * (slow + lively * fast)
        moved: Floats = limited(values[None] * (grow * grow * (3 - 2 * grow)))[0]
        return moved


class _Blinks:
    """Half of the blinks wait for a pause of the voice, from shortly before they are due."""

    def __init__(self, rate_hz: float, seed: int, per_minute: float) -> None:
        self._rate_hz, self._per_minute = rate_hz, per_minute
        self._rng = np.random.default_rng([seed, 2])
        self._voice = _Smoothed(SYLLABLE_S / 2, rate_hz)
        self._number = 0
        self._begin_s, self._length_s, self._next_length_s = -10.0, 0.3, 0.3
        self._due_s, self._waits = np.inf, False
        if per_minute > 0:
            self._due_s = 0.4 * 60 / per_minute * self._rng.lognormal(0, 0.4)
            self._plan()

    def next(self, activity: float) -> float:
        time_s = (self._number + 0.5) / self._rate_hz
        self._number += 1
        pauses = self._voice.add(activity) < PAUSE
        is_over = time_s > self._begin_s + self._length_s + BLINK_APART_S
        early = self._waits and pauses and time_s >= self._due_s - BLINK_WAIT_S
        if is_over and (early or time_s >= self._due_s) and np.isfinite(self._due_s):
            self._begin_s, self._length_s = time_s, self._next_length_s
            mean_s = 60 / self._per_minute
            wait_s = mean_s * float(self._rng.lognormal(-0.18, 0.6))
            self._due_s += max(self._length_s + 0.3, wait_s)
            self._plan()
        return float(blink_shape(np.array((time_s - self._begin_s) / self._length_s)))

    def _plan(self) -> None:
        self._next_length_s = float(np.clip(self._rng.normal(*BLINK_S), 0.26, 0.48))
        self._waits = bool(self._rng.random() < BLINK_IN_PAUSE)


class _Brows:
    def __init__(self, rate_hz: float) -> None:
        self._mean = _Smoothed(0.8, rate_hz)
        self._stress = _Smoothed(BROW_S / 2, rate_hz)
        self._raised = _Smoothed(BROW_S / 4, rate_hz)

    def next(self, activity: float) -> float:
        stress = self._stress.add(activity - self._mean.add(activity))
        marked = max(stress - BROW_THRESHOLD, 0) / BROW_THRESHOLD
        return MAX_BROW_RAISE * self._raised.add(float(np.tanh(marked)))
