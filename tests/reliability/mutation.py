"""Bytes that were a real file: bits flipped, blocks moved, lengths that lie, headers of others."""

import re
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

_EXTREMES = (
    *(b"\x00", b"\xff", b"\x7f", b"\x80"),
    *(b"\x00\x00", b"\xff\xff", b"\x00\x80", b"\xff\x7f"),
    *(b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"),
    *(b"\x80\x00\x00\x00", b"\x00\x00\x00\x80", b"\x00\x01\x00\x00", b"\xff" * 8, b"\x00" * 8),
    *(b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f"),
)
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")
_MAX_BYTES = 4_000_000

Mutation = Callable[[bytes, bytes, np.random.Generator], bytes]


def mutate(data: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Return damaged bytes: one to three mutations of `data`, for which `others` lend parts."""
    for _ in range(int(rng.integers(1, 4))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        other = others[int(rng.integers(len(others)))]
        data = mutation(data, other, rng)[:_MAX_BYTES]
    return data


def _place(data: bytes, rng: np.random.Generator, size: int = 1) -> int:
    """Return an offset, more often one near the start, where headers are."""
    end = max(len(data) - size, 0)
    if rng.random() < 0.5:
        end = min(end, 400)
    return int(rng.integers(end + 1))


def _flip_bits(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _k in range(int(rng.integers(1, 40)) if data else 0):
        changed[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _cut_start(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    return data[_place(data, rng) :]


def _double_block(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    block = data[start : start + int(rng.integers(1, 5000))]
    times = int(rng.choice([1, 2, 50]))
    return data[:start] + block * times + data[start:]


def _lose_block(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 2000)) :]


def _blank_block(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    block = data[start : start + int(rng.integers(1, 2000))]
    return (
        data[:start] + bytes([int(rng.choice([0, 255]))]) * len(block) + data[start + len(block) :]
    )


def _set_extreme(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    value = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
    start = _place(data, rng, len(value))
    return data[:start] + value + data[start + len(value) :]


def _set_extreme_length(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Change the four bytes before or after something that looks like the name of a box."""
    tags = [match.start() for match in _TAG.finditer(data[:200_000])]
    if not tags:
        return _set_extreme(data, b"", rng)
    start = max(tags[int(rng.integers(len(tags)))] + int(rng.choice([-4, 4, 8])), 0)
    number = int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, len(data), len(data) * 2]))
    return data[:start] + struct.pack(str(rng.choice([">I", "<I"])), number) + data[start + 4 :]


def _swap_header(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    size = int(rng.choice([4, 8, 16, 64, 512]))
    return other[:size] + data[size:]


def _splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _add_noise(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.bytes(int(rng.integers(1, 3000))) + data[start:]


def _mend_png(data: bytes, _: bytes, rng: np.random.Generator) -> bytes:
    """Change a byte of a chunk of a PNG and make its checksum right; others get flipped bits."""
    if not data.startswith(b"\x89PNG"):
        return _flip_bits(data, b"", rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return data
    chosen = int(rng.integers(len(chunks)))
    name, body = chunks[chosen]
    chunks[chosen] = name, _set_extreme(body, b"", rng) if body else rng.bytes(8)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip_bits, _cut, _cut_start, _double_block, _lose_block, _blank_block, _set_extreme),
    *(_set_extreme, _set_extreme_length, _set_extreme_length, _swap_header, _splice, _add_noise),
    _mend_png,
)
