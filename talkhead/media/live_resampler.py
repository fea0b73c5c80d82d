"""Turn channels at any rate into mono at 16 kHz, while the sound arrives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from talkhead.media.mixdown import HighPass, MixdownMeter
from talkhead.media.rates import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]

BLOCK_S = 0.1
"""The channels to average are chosen anew for each block of this length."""


class LiveMixer:
    """Averages the audible channels of a stream; where they cancel out, it takes the loudest.

    The choice rests on what was heard so far, as `MixdownMeter` makes it for whole files. A new one
    fades in over a block.
    """

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self._meter = MixdownMeter(rate_hz)
        self._size = round(BLOCK_S * rate_hz)
        self._weights = np.full(num_channels, 1 / num_channels, np.float32)
        self._waiting = np.zeros((0, num_channels), np.float32)
        self._num_mixed = 0
        """Samples of the waiting block that were mixed already."""

    def mix(self, samples: Samples) -> Samples:
        """Mix the next samples, (n, channels), to (n,); no sample waits for a later one."""
        if samples.shape[1] == 1:
            return samples[:, 0]
        parts = []
        while len(samples):
            part = samples[: self._size - len(self._waiting)]
            samples = samples[len(part) :]
            self._waiting = np.concatenate([self._waiting, part])
            parts.append(part @ self._weights)
            if len(self._waiting) == self._size:
                self._meter.add(self._waiting)
                chosen = list(self._meter.choose().channels)
                target = np.zeros_like(self._weights)
                target[chosen] = 1 / len(chosen)
                self._weights += (target - self._weights) / 2
                self._waiting = self._waiting[:0]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class LiveResampler:
    """Resamples a mono stream to 16 kHz, and removes a constant offset.

    Blocks of any length give the same samples.
    """

    def __init__(self, rate_hz: int) -> None:
        self._high_pass = HighPass(rate_hz)
        self._stream = None
        if rate_hz != SAMPLE_RATE_HZ:
            # Higher qualities hold back 20 ms more.
            self._stream = soxr.ResampleStream(
                rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="LQ"
            )

    def push(self, samples: Samples, *, is_last: bool = False) -> Samples:
        """Resample the next samples, (n,)."""
        if len(samples):
            samples = self._high_pass(samples)
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples, last=is_last)
        return resampled
