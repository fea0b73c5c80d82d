"""Read the files of weights folders: JSON of bounded size, and safetensors, strictly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from talkhead.config import in_short
from talkhead.errors import WeightsError

MAX_JSON_BYTES = 1_000_000
"""Far more than any network needs; parsing takes up to fifty times this size in memory."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size, strictly.

    Raises:
        WeightsError: the file is missing, too large or not JSON, or a key appears twice.
    """
    _check_file(path)

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twins = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twins:
            raise ValueError(f"{in_short(min(twins))} appears twice")
        return dict(pairs)

    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"it is larger than {MAX_JSON_BYTES:,} bytes")
        settings = json.loads(path.read_bytes(), object_pairs_hook=refuse_twins)
    except (ValueError, OSError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path} is not a JSON object")
    return settings


@contextmanager
def text_name(path: Path) -> Iterator[Path]:
    """Yield a name of an existing file that is UTF-8: safetensors reads no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


@contextmanager
def opened_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; only its header is read at this point.

    Raises:
        WeightsError: the file is missing or corrupt.
    """
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    try:
        with text_name(path) as name, safe_open(name, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is corrupt: download or train it again ({one_line(error)})"
        ) from error


def _check_file(path: Path) -> None:
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise WeightsError(f"the weights folder {path.parent} does not exist: check the path")
    raise WeightsError(
        f"{path.parent} has no {path.name}: no other file format is read, not even beside it"
    )


def one_line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split())
