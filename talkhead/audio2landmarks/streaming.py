"""The first stage for sound of unknown length: motion comes out while the voice is heard.

The generator needs some sound after a frame, and some before it. So every step runs it over the
last seconds once more, and keeps only the frames that are new. Steps lie at fixed places in the
sound: however it is delivered, the motion is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.audio2motion import GATE_HOLD_S, LEAD_S, generate_coefficients
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.audio2landmarks.running_loudness import HeardFrame, RunningLoudness
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.media.rates import DEFAULT_FPS, SAMPLE_RATE_HZ, num_frames

Floats = npt.NDArray[np.float32]

RATE_HZ = float(DEFAULT_FPS)
FRAME_SAMPLES = round(SAMPLE_RATE_HZ / RATE_HZ)
LEAD_SAMPLES = round(LEAD_S * SAMPLE_RATE_HZ)
LOOK_AHEAD_FRAMES = 6
"""Sound after a frame that is awaited before its motion is generated: 0.24 s."""
HISTORY_FRAMES = 50
"""Frames before the new ones that a step computes once more: 2 s."""
STEP_FRAMES = 3
"""New frames of a step. More cost less, but the first of them wait for the others."""
FADE_FRAMES = 1
"""Frames over which a step fades from what the previous one expected to what it found itself."""
GATE_RISE, GATE_FALL = 0.35, 0.2
"""Fastest change of the gate per frame, so that lips neither snap open nor shut."""


@dataclass(frozen=True)
class SpokenFrames:
    """Motion of new frames.

    Attributes:
        coefficients: float32 (T, K) of the motion basis; at rest where there is no speech.
        activity: float32 (T,), loudness of the voice from 0 to 1; 0 where there is no speech.
    """

    coefficients: Floats
    activity: Floats

    def __len__(self) -> int:
        return len(self.activity)


class SpeechStream:
    """Turns sound of unknown length into the motion of a mouth.

    Args:
        generator: the first stage.
        shape: (4,), the identity's proportions.
        fps: frames per second of the motion.
        look_ahead_frames: sound to await after a frame, in frames of 1 / 25 s.
    """

    def __init__(
        self,
        generator: LandmarkGenerator,
        shape: Floats,
        fps: Fraction = DEFAULT_FPS,
        look_ahead_frames: int = LOOK_AHEAD_FRAMES,
    ) -> None:
        self._generator, self._shape, self._ahead = generator, shape, look_ahead_frames
        self._num_samples = 0
        self._first_sample = -LEAD_SAMPLES
        self._sound = np.zeros(LEAD_SAMPLES, np.float32)
        self._next = self._num_heard = 0
        """Frames that were put out, and frames that were heard, at 25 per second."""
        self._heard: list[HeardFrame] = []
        self._first_heard = 0
        self._loudness = RunningLoudness()
        self._expected = np.zeros((0, generator.config.num_components), np.float32)
        self._gate = 0.0
        self._convolved = _Convolved(generator)
        self._resampler = _Resampler(fps)

    @property
    def num_samples_held(self) -> int:
        """Number of samples in memory; bounded."""
        return len(self._sound)

    @property
    def num_frames_held(self) -> int:
        """Number of frames whose loudness is in memory; bounded."""
        return len(self._heard)

    @property
    def look_ahead_s(self) -> float:
        """Seconds of sound that are awaited after a frame."""
        return self._ahead / RATE_HZ

    def push(self, samples: Floats, *, hurry: bool = False) -> Iterator[SpokenFrames]:
        """Take more sound, and yield the motion of the frames that became due, step by step.

        Args:
            samples: (N,), mono, 16 kHz; N may be anything.
            hurry: do not run the generator, but take what the last step expected of these frames:
                a few are good, then the lips stay where they are.
        """
        for start in range(0, len(samples), SAMPLE_RATE_HZ):  # a whole file may come at once
            self._hear(samples[start : start + SAMPLE_RATE_HZ])
            while self._num_heard >= self._next + STEP_FRAMES + self._ahead:
                yield self._resampler.push(self._step(STEP_FRAMES, self._ahead, hurry=hurry))

    def finish(self, duration_s: Fraction | None = None) -> Iterator[SpokenFrames]:
        """Yield the motion of the remaining frames: altogether, as many as cover the sound.

        Args:
            duration_s: exact length of the sound; None for that of the samples. Resampling may
                have given a sample more or less.
        """
        if duration_s is None:
            duration_s = Fraction(self._num_samples, SAMPLE_RATE_HZ)
        total = max(num_frames(duration_s, DEFAULT_FPS), self._next)
        missing = total * FRAME_SAMPLES - self._num_samples
        self._hear(np.zeros(max(missing, 0), np.float32))
        while self._next < total:
            count = min(STEP_FRAMES, total - self._next)
            yield self._resampler.push(self._step(count, total - self._next - count))
        yield self._resampler.finish(duration_s)

    def _hear(self, samples: Floats) -> None:
        self._num_samples += len(samples)
        self._sound = np.concatenate([self._sound, samples])
        begin = self._num_heard * FRAME_SAMPLES
        count = (self._num_samples - begin) // FRAME_SAMPLES
        if count:
            whole = self._sound[begin - self._first_sample :][: count * FRAME_SAMPLES]
            for level_db in frame_levels(whole, count, RATE_HZ).tolist():
                self._heard.append(self._loudness.add(level_db))
            self._num_heard += count

    def _step(self, count: int, ahead: int, *, hurry: bool = False) -> SpokenFrames:
        """Return the next `count` frames; `ahead` more frames of sound were heard after them."""
        start, stop = self._next, self._next + count
        last = stop + ahead
        frames = self._heard[start - self._first_heard : last - self._first_heard]
        if hurry and len(self._expected):
            missing = max(count + 1 - len(self._expected), 0)
            coming = np.concatenate([self._expected, self._expected[-1:].repeat(missing, axis=0)])
            coefficients, self._expected = coming[:count], coming[count:]
        else:
            coefficients = self._generated(frames, start, stop, last)
        gates = self._gates(start, stop, last)
        loudness = np.array([frame.loudness for frame in frames[:count]], np.float32)
        self._next = stop
        self._forget()
        return SpokenFrames(coefficients * gates[:, None], loudness * gates)

    def _generated(self, frames: list[HeardFrame], start: int, stop: int, last: int) -> Floats:
        """Generate frames from `start` to `stop`, (T, K), from the sound up to frame `last`."""
        first = max(start - HISTORY_FRAMES, 0)
        gain = 10 ** (frames[-1].gain_db / 20)
        begin = first * FRAME_SAMPLES - LEAD_SAMPLES - self._first_sample
        end = last * FRAME_SAMPLES - self._first_sample
        waveform = self._sound[begin:end] * np.float32(gain)
        found = generate_coefficients(
            self._generator,
            waveform,
            last - first,
            RATE_HZ,
            self._shape,
            first=start - first,
            convolved=self._convolved.of(waveform, first * FRAME_SAMPLES),
        )
        count = stop - start
        coefficients = _faded(found[:count], self._expected)
        self._expected = found[count:]
        return coefficients

    def _gates(self, start: int, stop: int, last: int) -> Floats:
        """Return 1 during speech and 0 in silence; it opens as early as the sound is heard."""
        hold = round(GATE_HOLD_S * RATE_HZ)
        gates = np.zeros(stop - start, np.float32)
        for number in range(start, stop):
            low = max(number - hold - self._first_heard, 0)
            high = min(number + self._ahead + 1, last) - self._first_heard
            target = max(frame.speaks for frame in self._heard[low:high])
            self._gate += min(max(target - self._gate, -GATE_FALL), GATE_RISE)
            gates[number - start] = self._gate
        return gates

    def _forget(self) -> None:
        """Drop the sound that no later step needs."""
        first = max(self._next - HISTORY_FRAMES, 0)
        first_sample = first * FRAME_SAMPLES - LEAD_SAMPLES
        self._sound = self._sound[first_sample - self._first_sample :]
        self._heard = self._heard[first - self._first_heard :]
        self._first_sample, self._first_heard = first_sample, first


def _faded(found: Floats, expected: Floats) -> Floats:
    """Fade from what was expected of frames, (T, K), to what was found."""
    count = min(FADE_FRAMES, len(found), len(expected))
    weights = 1 - np.arange(1, FADE_FRAMES + 1, dtype=np.float32)[:count, None] / (FADE_FRAMES + 1)
    faded = found.copy()
    faded[:count] += weights * (expected[:count] - found[:count])
    return faded


class _Convolved:
    """Keeps the output of the encoder's convolutions, which are a third of a step's work.

    Convolutions see a few milliseconds: only those over new sound have to be computed. Older ones
    keep the gain of their time.
    """

    def __init__(self, generator: LandmarkGenerator) -> None:
        self._encoder = generator.speech
        self._held: torch.Tensor | None = None
        self._begin = 0

    @torch.no_grad()
    def of(self, waveform: Floats, begin: int) -> torch.Tensor | None:
        """Return the output for a waveform, (1, T, C); None if it cannot be had piece by piece.

        Args:
            waveform: (N,); it begins where the last one did, or later, and ends later.
            begin: where it begins in the stream, in samples.
        """
        if not isinstance(self._encoder, SpeechEncoder) or not self._encoder.is_local:
            return None
        hop, field = self._encoder.hop_samples, self._encoder.field_samples
        if FRAME_SAMPLES % hop:  # steps begin between two features
            return None
        device = next(self._encoder.parameters()).device
        if self._held is None:
            self._held = self._encoder.convolve(torch.from_numpy(waveform)[None].to(device))
        else:
            self._held = self._held[:, (begin - self._begin) // hop :]
            rest = waveform[self._held.shape[1] * hop :]
            if len(rest) >= field:
                new = self._encoder.convolve(torch.from_numpy(rest)[None].to(device))
                self._held = torch.cat([self._held, new], 1)
        self._begin = begin
        return self._held


class _Resampler:
    """Interpolates between frames at 25 per second, as `time_series.resample` does."""

    def __init__(self, fps: Fraction) -> None:
        self._fps, self._step = fps, DEFAULT_FPS / fps
        self._num_in = self._num_out = 0
        self._last: Floats | None = None

    def push(self, frames: SpokenFrames) -> SpokenFrames:
        """Take frames at 25 per second, and return those at `fps` that lie between them."""
        values = np.concatenate([frames.coefficients, frames.activity[:, None]], axis=1)
        if self._fps == DEFAULT_FPS:
            self._num_out += len(values)
        held = values if self._last is None else np.concatenate([self._last, values])
        first = self._num_in - (len(held) - len(values))
        self._num_in += len(values)
        self._last = held[-1:]
        if self._fps == DEFAULT_FPS:
            return _split(values)
        places = []
        while (place := self._place(self._num_out)) <= self._num_in - 1:
            places.append(float(max(place, Fraction(0)) - first))
            self._num_out += 1
        return _split(_between(held, places))

    def finish(self, duration_s: Fraction) -> SpokenFrames:
        """Return the frames after the last one, which is held."""
        missing = num_frames(duration_s, self._fps) - self._num_out
        last = np.zeros((0, 2), np.float32) if self._last is None else self._last
        self._num_out += max(missing, 0)
        return _split(np.repeat(last, max(missing, 0), axis=0))

    def _place(self, number: int) -> Fraction:
        return (number + Fraction(1, 2)) * self._step - Fraction(1, 2)


def _between(values: Floats, places: list[float]) -> Floats:
    at = np.array(places, np.float32)
    before = at.astype(np.intp)
    after = np.minimum(before + 1, len(values) - 1)
    share = (at - before)[:, None]
    between: Floats = values[before] + share * (values[after] - values[before])
    return between


def _split(values: Floats) -> SpokenFrames:
    return SpokenFrames(values[:, :-1], values[:, -1])
