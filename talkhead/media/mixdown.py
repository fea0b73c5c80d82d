"""Mix channels down to one: which to average, and whether to filter out a constant offset.

Both are decided from the whole file, so that they do not change in the middle of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SILENT_CHANNEL_DB = -40.0
"""A channel this far below the loudest adds nothing to a voice, and would only lower the mean."""
CANCELLED = 0.25
"""A block cancels out if its mean keeps less than this fraction of the energy that the mean of
uncorrelated channels would have."""
CANCELLED_SHARE = 0.1
"""A file cancels out if such blocks hold more than this fraction of its energy."""
OFFSET_DB = -28.0
"""An offset this far below the signal does not disturb the pauses between words."""
HIGH_PASS_HZ = 10.0


@dataclass(frozen=True)
class Mixdown:
    """How to mix a file down to one channel.

    Attributes:
        channels: the channels to average.
        has_offset: whether a high-pass filter has to remove a constant offset.
    """

    channels: tuple[int, ...]
    has_offset: bool

    def mix(self, block: Samples) -> Samples:
        """Average the channels of a block, (N, C), to (N,)."""
        if len(self.channels) < block.shape[1]:
            block = block[:, self.channels]
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        return mono


class MixdownMeter:
    """Measures a file, block by block, to choose its mixdown.

    Energies exclude each block's mean, so that an offset does not count as signal.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._num_samples = 0
        self._energy: npt.NDArray[np.float64] = np.zeros(1)
        """Per channel."""
        self._offset: npt.NDArray[np.float64] = np.zeros(1)
        """Per channel, the largest of any block."""
        self._unrelated = self._cancelled = 0.0

    def add(self, block: Samples) -> None:
        """Measure a block, (N, C)."""
        num_samples, num_channels = block.shape
        sums = block.sum(axis=0, dtype=np.float64)
        energy = np.square(block, dtype=np.float64).sum(axis=0) - sums**2 / num_samples
        energy = energy.clip(0)
        # The last block may be shorter than a cycle of the voice, so its mean is not an offset.
        offset = np.abs(sums) / max(num_samples, self._rate_hz)
        self._num_samples += num_samples
        self._energy = self._energy + energy
        self._offset = np.maximum(self._offset, offset)
        if num_channels > 1:
            unrelated = float(energy.sum()) / num_channels**2
            mean = block.mean(axis=1, dtype=np.float32).astype(np.float64)
            left = float(np.square(mean - mean.mean()).sum())
            self._unrelated += unrelated
            if left < CANCELLED * unrelated:
                self._cancelled += unrelated

    def choose(self) -> Mixdown:
        """Return the mixdown for the blocks measured so far."""
        # The first of the channels that are equally loud, to within rounding.
        loudest = int(np.argmax(self._energy > 0.99 * self._energy.max()))
        audible = self._energy >= self._energy[loudest] * 10 ** (SILENT_CHANNEL_DB / 10)
        if self._cancelled > CANCELLED_SHARE * self._unrelated:
            audible = np.arange(len(audible)) == loudest
        level = np.sqrt(self._energy / max(self._num_samples, 1))
        has_offset = self._offset > level * 10 ** (OFFSET_DB / 20)
        channels = np.flatnonzero(audible)
        return Mixdown(tuple(channels.tolist()), bool(has_offset[channels].any()))


class HighPass:
    """A first-order filter that removes a constant offset; block sizes do not affect the result."""

    def __init__(self, rate_hz: int) -> None:
        from scipy.signal import butter, sosfilt  # it takes long to import, and few files need it

        self._filter = sosfilt
        self._sections = butter(1, HIGH_PASS_HZ, "highpass", fs=rate_hz, output="sos")
        self._state: npt.NDArray[np.float64] | None = None

    def __call__(self, block: Samples) -> Samples:
        """Filter the next block, (N,)."""
        if self._state is None:
            # Start as if the first sample had always been there, so that the offset causes no pop.
            self._state = np.array([[-float(block[0]) * self._sections[0, 0], 0.0]])
        filtered, self._state = self._filter(
            self._sections, block.astype(np.float64), zi=self._state
        )
        return np.asarray(filtered, np.float32)
