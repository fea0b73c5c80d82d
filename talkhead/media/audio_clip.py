"""`AudioClip`: the sound of a file or of an array, decoded once, read as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from talkhead.errors import TalkheadError
from talkhead.media.audio import Source, Waveform, array_source, block_samples, open_source
from talkhead.media.in_memory import samples_of, sound_file
from talkhead.media.mixdown import HighPass, Mixdown, MixdownMeter
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.media.sample_spool import SampleSpool

MAX_MEMORY_S = 600
"""Longer clips are kept in a temporary file."""
_MAX_MEMORY_BYTES = 4 * MAX_MEMORY_S * SAMPLE_RATE_HZ


class AudioClip:
    """Sound as float32, mono, 16 kHz.

    The audible channels are averaged. If they cancel out, as in stereo whose right channel is the
    left one inverted, the loudest channel is used. A constant offset is filtered out. Memory does
    not grow with the length: a long clip is kept in a temporary file, until the clip is closed or
    no longer used.

    Attributes:
        path: the file, or None for sound in memory.
        track: which of the file's sound tracks it is, from 0.
        original: sound in memory as it was given, float32 (N,) or (N, channels); None for a file.
        original_rate_hz: sample rate of `original`; None for a file.
        duration_s: exact length, at the sound's own rate.
        num_samples: number of samples at 16 kHz.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        *,
        path: Path | None = None,
        original: Waveform | None = None,
    ) -> None:
        """Decode a source; `open` and `from_samples` are the usual ways to get a clip.

        Args:
            source: the sound.
            name: what errors call it.
            path: its file.
            original: its samples in memory.
        """
        self.path = path
        self.track = source.track
        self.original = original
        self.original_rate_hz = None if original is None else source.rate_hz
        self._spool = SampleSpool(1, max_bytes=_MAX_MEMORY_BYTES)
        self.duration_s = _decode(source, name, self._spool)
        self.num_samples = self._spool.num_samples

    @classmethod
    def open(cls, path: Path, track: str | None = None) -> AudioClip:
        """Decode an audio file, or the sound of a video.

        Args:
            path: the file.
            track: which sound track if it has several: a number from 1, or a language tag. None is
                the track that is flagged as the default, or else the first.

        Raises:
            TalkheadError: the file is missing, a directory, empty, corrupt or cut off; it has no
                audio stream, or not the wanted one; it has no samples, or samples that are not
                finite; or its sample rate or channel count is out of range.
        """
        path = Path(path)
        with open_source(path, track) as source:
            return cls(source, str(path), path=path)

    @classmethod
    def from_samples(cls, samples: npt.NDArray[np.generic], rate_hz: int) -> AudioClip:
        """Treat samples in memory as those of a file.

        Args:
            samples: as for `samples_of`: (N,), (N, channels) or (channels, N).
            rate_hz: samples per second.

        Raises:
            TalkheadError: as for `samples_of`.
            TypeError: the samples are not such an array.
        """
        original = samples_of(samples, rate_hz)
        return cls(array_source(original, int(rate_hz)), "audio", original=original)

    def blocks(self, num_samples: int) -> Iterator[Waveform]:
        """Yield the sound in blocks, (num_samples,); the last one may be shorter."""
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, not {num_samples}")
        return (block[:, 0] for block in self._spool.blocks(num_samples))

    def waveform(self) -> Waveform:
        """Return the whole sound, (N,)."""
        return self._spool.read(0, self.num_samples)[:, 0]

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Yield a file with the original sound: a temporary one for sound in memory.

        Raises:
            TalkheadError: the temporary file cannot be written.
        """
        if self.original is not None and self.original_rate_hz is not None:
            with sound_file(self.original, self.original_rate_hz) as path:
                yield path
        elif self.path is not None:
            yield self.path

    def close(self) -> None:
        """Release the samples; the clip cannot be read afterwards."""
        self._spool.close()

    def __enter__(self) -> AudioClip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decode(source: Source, name: str, result: SampleSpool) -> Fraction:
    """Write a source's mono sound at 16 kHz to `result`, and return its exact length.

    The whole sound decides how to mix it down, so it is read twice: a source that cannot be
    repeated is stored meanwhile.
    """
    size = block_samples(source.rate_hz, source.num_channels)
    spool = SampleSpool(source.num_channels, max_bytes=_MAX_MEMORY_BYTES)
    meter, num_decoded = MixdownMeter(source.rate_hz), 0
    try:
        for block in source.blocks():
            if not np.isfinite(block).all():
                raise TalkheadError(f"{name} contains NaN or infinite samples; export it again")
            num_decoded += len(block)
            meter.add(block)
            if not source.can_repeat:
                spool.append(block)
        if num_decoded == 0:
            raise TalkheadError(f"{name} contains no sound (its length is zero); record it again")
        blocks = source.blocks() if source.can_repeat else spool.blocks(size)
        for mono in _resample(blocks, source.rate_hz, meter.choose()):
            result.append(mono)
    finally:
        spool.close()
    return Fraction(num_decoded, source.rate_hz)


def _resample(blocks: Iterator[Waveform], rate_hz: int, mixdown: Mixdown) -> Iterator[Waveform]:
    """Mix blocks down to one channel and resample them to 16 kHz."""
    stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    high_pass = HighPass(rate_hz) if mixdown.has_offset else None
    for block in blocks:
        mono = mixdown.mix(block)
        yield stream.resample_chunk(mono if high_pass is None else high_pass(mono))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
