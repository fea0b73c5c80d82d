"""Sound that arrives in a pipe: wav whose header may not know its length, or raw samples."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.audio import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ

Samples = npt.NDArray[np.float32]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DEPTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_MAX_HEADER_BYTES = 1 << 20
"""Cover art and the like may come before the samples, but not without end."""
_UNKNOWN_BYTES = 0x7FFF_0000
"""Programs that write to a pipe do not know the length, and declare 0 or at least this."""
_AFTER_SAMPLES = (b"LIST", b"id3 ", b"ID3 ", b"JUNK", b"bext", b"cue ", b"smpl", b"fact", b"PEAK")
"""What may follow the samples in a file. Anything else is sound: the header is wrong."""


@dataclass(frozen=True)
class PcmFormat:
    """How samples are stored.

    Attributes:
        rate_hz: samples per second.
        num_channels: number of channels.
        depth: bits per sample.
        is_float: whether samples are floating point.
        declared_bytes: length of the samples as the header declares it; None if it does not.
    """

    rate_hz: int
    num_channels: int = 1
    depth: int = 16
    is_float: bool = False
    declared_bytes: int | None = None

    def __post_init__(self) -> None:
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise TalkheadError(
                f"the sound has {self.rate_hz:,} samples per second, outside the supported"
                f" {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,}; send 16,000 to 48,000"
            )
        if not 1 <= self.num_channels <= MAX_CHANNELS:
            raise TalkheadError(
                f"the sound has {self.num_channels} channels, outside the supported 1 to"
                f" {MAX_CHANNELS}; send mono or stereo"
            )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample in all channels."""
        return self.num_channels * self.depth // 8


def read_wav_header(read: Callable[[int], bytes]) -> PcmFormat:
    """Read a wav stream up to its first sample.

    Args:
        read: returns that many bytes, fewer only at the end.

    Raises:
        TalkheadError: the stream is empty, is not wav, or has an encoding other than PCM or float.
    """
    head = read(12)
    if not head:
        raise TalkheadError("the sound is empty: the program before the pipe wrote nothing")
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        raise TalkheadError("the sound is not a wav stream: send wav, or name the rate of raw PCM")
    found: tuple[int, int, int, int] | None = None
    num_read = 0
    while True:
        chunk = read(8)
        if len(chunk) < 8 or num_read > _MAX_HEADER_BYTES:
            raise TalkheadError("the wav stream ends within its header: send it again")
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            break
        size += size % 2
        if size > _MAX_HEADER_BYTES:
            raise TalkheadError("the wav stream has a damaged header: send it again")
        body = read(size)
        num_read += size
        if kind == b"fmt " and len(body) >= 16:
            code, channels, rate_hz, _, _, depth = struct.unpack("<HHIIHH", body[:16])
            if code == _EXTENSIBLE and len(body) >= 26:
                code = struct.unpack("<H", body[24:26])[0]
            found = code, channels, rate_hz, depth
    if found is None:
        raise TalkheadError("the wav stream has no format before its samples: send it again")
    code, channels, rate_hz, depth = found
    if depth not in _DEPTHS.get(code, ()):
        raise TalkheadError(
            f"the wav stream has an encoding that cannot be read ({code}, {depth} bits); send"
            " 16-bit PCM"
        )
    declared = size if 0 < size < _UNKNOWN_BYTES else None
    return PcmFormat(rate_hz, channels, depth, code == _FLOAT, declared)


class PcmDecoder:
    """Turns bytes, in pieces of any length, into samples.

    A wav stream may be longer than its header says. Only where the name of another chunk follows
    is the header believed.
    """

    def __init__(self, pcm: PcmFormat) -> None:
        self.format = pcm
        self._waiting = b""
        self._left = pcm.declared_bytes
        """Bytes up to the declared end; None if it is unknown, or was passed."""
        self.is_over = False
        """Whether the samples have ended, and something else follows."""

    def decode(self, data: bytes, *, is_last: bool = False) -> Samples:
        """Return the whole samples, (n, channels); values that are not finite become 0.

        Args:
            data: the next bytes.
            is_last: whether nothing follows.
        """
        self._waiting += data
        parts = [self._take(is_last=is_last)]
        while len(parts[-1]):
            parts.append(self._take(is_last=is_last))
        return np.concatenate(parts)

    def _take(self, *, is_last: bool) -> Samples:
        if self.is_over:
            self._waiting = b""
        if self._left is not None and self._left < self.format.frame_bytes:
            after = self._waiting[self._left + self._left % 2 :][:4]
            if len(after) == 4 or is_last:
                self.is_over = after in _AFTER_SAMPLES
                self._left = None
                if self.is_over:
                    self._waiting = b""
            else:
                return np.zeros((0, self.format.num_channels), np.float32)
        size = len(self._waiting) if self._left is None else min(len(self._waiting), self._left)
        size -= size % self.format.frame_bytes
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._left is not None:
            self._left -= size
        return _decoded(data, self.format)


def _decoded(data: bytes, pcm: PcmFormat) -> Samples:
    if pcm.is_float:
        values = np.frombuffer(data, f"<f{pcm.depth // 8}").astype(np.float32)
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    elif pcm.depth == 8:
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif pcm.depth == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        full = 2 ** (pcm.depth - 1)
        values = np.frombuffer(data, f"<i{pcm.depth // 8}").astype(np.float32) / full
    return values.reshape(-1, pcm.num_channels)
