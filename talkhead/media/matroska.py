"""Write raw frames and samples as a Matroska stream, so that one pipe carries both to ffmpeg.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska). Sizes of the segment are unknown, as in a live
stream; every frame is a cluster of its own.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

TICK_S = Fraction(1, 100_000)
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_VIDEO, _AUDIO = 1, 2


def stream_header(size: tuple[int, int], fps: Fraction, rate_hz: int, num_channels: int) -> bytes:
    """Return what comes before the first frame.

    Args:
        size: (width, height) of the RGB frames.
        fps: frames per second.
        rate_hz: samples per second.
        num_channels: channels of the float32 samples.
    """
    head = _element(
        0x1A45DFA3,
        _number(0x4286, 1),
        _number(0x42F7, 1),
        _number(0x42F2, 4),
        _number(0x42F3, 8),
        _element(0x4282, b"matroska"),
        _number(0x4287, 4),
        _number(0x4285, 2),
    )
    info = _element(0x1549A966, _number(0x2AD7B1, int(TICK_S * 10**9)))
    video = _element(
        0xAE,
        _number(0xD7, _VIDEO),
        _number(0x73C5, _VIDEO),
        _number(0x83, 1),
        _number(0x9C, 0),
        _number(0x23E383, round(10**9 / fps)),
        _element(0x86, b"V_UNCOMPRESSED"),
        _element(
            0xE0, _number(0xB0, size[0]), _number(0xBA, size[1]), _element(0x2EB524, b"RGB\x18")
        ),
    )
    audio = _element(
        0xAE,
        _number(0xD7, _AUDIO),
        _number(0x73C5, _AUDIO),
        _number(0x83, 2),
        _number(0x9C, 0),
        _element(0x86, b"A_PCM/FLOAT/IEEE"),
        _element(
            0xE1,
            _element(0xB5, struct.pack(">d", rate_hz)),
            _number(0x9F, num_channels),
            _number(0x6264, 32),
        ),
    )
    tracks = _element(0x1654AE6B, video, audio)
    return head + _id(0x18538067) + _UNKNOWN_SIZE + info + tracks


def frame_cluster(
    time_s: Fraction, frame: Pixels, sound_s: Fraction, sound: Samples
) -> list[bytes]:
    """Return the parts of one frame's cluster.

    Args:
        time_s: when the frame is shown.
        frame: uint8 (H, W, 3).
        sound_s: when the sound begins.
        sound: (n, channels); n may be 0.
    """
    ticks = round(time_s / TICK_S)
    parts = [_number(0xE7, ticks)]
    if len(sound):
        data = np.ascontiguousarray(sound, "<f4").tobytes()
        parts += _block(_AUDIO, round(sound_s / TICK_S) - ticks, data)
    parts += _block(_VIDEO, 0, np.ascontiguousarray(frame).tobytes())
    return [_id(0x1F43B675), _size(sum(map(len, parts))), *parts]


def _block(track: int, ticks: int, data: bytes) -> list[bytes]:
    head = bytes([0x80 | track]) + struct.pack(">hB", ticks, 0x80)
    return [_id(0xA3), _size(len(head) + len(data)), head, data]


def _element(number: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _id(number) + _size(len(body)) + body


def _number(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(max((value.bit_length() + 7) // 8, 1), "big"))


def _id(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _size(size: int) -> bytes:
    return (size | 1 << 56).to_bytes(8, "big")
