import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talkhead.media.arrays import READ_ERRORS, ArrayArchive


def npy(kind: str, shape: str, content: bytes) -> bytes:
    """Return an array file with an arbitrary header."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(3, np.float32))  # type: ignore[no-untyped-call]
    size = 10 + int.from_bytes(file.getvalue()[8:10], "little")
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"
    return file.getvalue()[:10] + header.encode().ljust(size - 11) + b"\n" + content


def write(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_arrays_come_back_as_numpy_wrote_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "floats": rng.normal(size=(3, 4, 5)).astype(np.float32),
        "columns": np.asfortranarray(rng.normal(size=(4, 3))),
        "number": np.int64(7),
        "text": np.str_("words"),
        "nothing": np.zeros((0, 3), np.int16),
        "large": rng.integers(0, 9, 700_000),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        with ArrayArchive(tmp_path / "a.npz", max_bytes=10_000_000) as archive:
            assert archive.names == list(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(archive[name], array)
                assert archive[name].dtype == np.asarray(array).dtype
        with pytest.raises(ValueError, match="unpacks to 6 MB, more than the limit of 5 MB"):
            ArrayArchive(tmp_path / "a.npz", max_bytes=5_000_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("<f4", "(1000000000000, 3)", bytes(12)), "declares 12,000,000,000,000 bytes"),
        (npy("<f4", "(-1,)", bytes(4)), "declares -4 bytes"),
        (npy("<f4", "(-1, -1)", bytes(4)), "declares 4 bytes"),
        (npy("<f4", "(2,)", bytes(12)), "but has 12"),
        (npy("|O", "(1,)", b"cos\nsystem\n."), "a pickle"),
        (npy("<f4", "[" * 90, bytes(4)), "header"),
        (b"\x93NUMPY\x07\x00" + bytes(100), "version"),
        (b"plain text", "magic"),
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "a.npz", points=content)
    with (
        ArrayArchive(path, max_bytes=10**9) as archive,
        pytest.raises(ValueError, match=message),
    ):
        archive["points"]


def test_other_packings_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy("<f4", "(3,)", bytes(12)))
    with ArrayArchive(path, max_bytes=1000) as opened, pytest.raises(ValueError, match="packed"):
        opened["a"]
    write(path, a=npy("<f4", "(300,)", bytes(1200)))
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(bytes(data))
    with ArrayArchive(path, max_bytes=2000) as opened:
        with pytest.raises(READ_ERRORS, match="CRC"):
            opened["a"]
        with pytest.raises(KeyError):
            opened["b"]
    path.write_text("text")
    with pytest.raises(ValueError, match=r"not an \.npz"):
        ArrayArchive(path, max_bytes=2000)
