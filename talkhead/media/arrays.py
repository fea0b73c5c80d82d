"""Read untrusted array archives (.npz): no pickles, and no array larger than its stored data."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

READ_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, NotImplementedError, MemoryError, RecursionError),
    *(zipfile.BadZipFile, zlib.error),
)
"""Exceptions that reading a damaged archive may raise."""

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_BLOCK_BYTES = 1 << 20


class ArrayArchive:
    """An open, untrusted .npz file: a few bytes may claim, or unpack to, terabytes.

    Attributes:
        names: names of the arrays, in the archive's order; a duplicate appears twice.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Open an archive.

        Args:
            path: the file.
            max_bytes: limit for the total unpacked size of its arrays.

        Raises:
            ValueError: it is not an archive, or its arrays are too large.
            OSError: it cannot be read.
        """
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an .npz archive")
        self._archive = zipfile.ZipFile(path)
        members = self._archive.infolist()
        self.names = [member.filename.removesuffix(".npy") for member in members]
        self._members = dict(zip(self.names, members, strict=True))
        total = sum(member.file_size for member in members)
        if total > max_bytes:
            self._archive.close()
            raise ValueError(
                f"it unpacks to {total / 1e6:,.0f} MB, more than the limit of"
                f" {max_bytes / 1e6:,.0f} MB"
            )

    def __enter__(self) -> ArrayArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Read one array.

        Raises:
            KeyError: no array has that name.
            ValueError: it holds Python objects, its size differs from the one in its header, or it
                is packed in a way that numpy does not write.
            Exception: one of `READ_ERRORS`, if the archive is damaged.
        """
        member = self._members[name]
        if member.compress_type not in _PACKINGS or member.flag_bits & _ENCRYPTED:
            raise ValueError(f"{name} is encrypted, or packed in a way that numpy does not write")
        with self._archive.open(member) as file:
            return _read_array(name, file, member.file_size)


def _read_array(name: str, file: IO[bytes], num_bytes: int) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name} has a header with an unsupported version")
    try:
        shape, is_fortran, dtype = readers[version](file)  # type: ignore[no-untyped-call]
    except tokenize.TokenError as error:
        raise ValueError(f"{name} has a header that cannot be parsed") from error
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects (a pickle), which are not loaded")
    stated, there = math.prod(shape) * dtype.itemsize, num_bytes - file.tell()
    if min(shape, default=0) < 0 or stated != there:
        raise ValueError(f"{name} declares {stated:,} bytes as {shape}, but has {there:,}")
    content = np.empty(there, np.uint8)
    rest = content.data
    while rest:
        num_read: int = file.readinto(rest[:_BLOCK_BYTES])  # type: ignore[attr-defined]
        if not num_read:
            raise EOFError(f"{name} ends early")
        rest = rest[num_read:]
    array: npt.NDArray[Any] = content.view(dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")
