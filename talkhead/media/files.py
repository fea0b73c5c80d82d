"""Checks on the files a user names, and outputs that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from talkhead.errors import TalkheadError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v"})


def check_input(path: Path) -> None:
    """Refuse what cannot be an input file, before any decoder sees it.

    Raises:
        TalkheadError: the path is missing, a directory, empty, or not readable.
    """
    try:
        if path.is_dir():
            raise TalkheadError(f"{path} is a directory; name a file in it")
        if not path.exists():
            raise TalkheadError(f"{path} does not exist; check the name and the folder")
        with path.open("rb") as file:
            if not file.read(1):
                raise TalkheadError(f"{path} is empty; copy or download it again")
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise TalkheadError(f"{path} cannot be read ({reason}); check its permissions") from error


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before the slow work starts.

    Raises:
        TalkheadError: the folder is missing or read-only, the target is not a regular file, or it
            exists and `overwrite` is false.
    """
    folder = path.parent
    if path.is_dir():
        raise TalkheadError(f"{path} is a directory; name a file in it")
    if not folder.is_dir():
        raise TalkheadError(f"output folder {folder} does not exist; create it first")
    if path.exists():
        if not path.is_file():
            raise TalkheadError(f"{path} is not a regular file; choose another output")
        if not overwrite:
            raise TalkheadError(f"{path} exists; choose another name or allow overwriting")
    # Permission bits do not tell the whole story (root, read-only mounts, quotas): write one file.
    probe = temporary_sibling(path)
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise TalkheadError(
            f"output folder {folder} cannot be written to ({error.strerror}); choose another"
        ) from error
    finally:
        probe.unlink(missing_ok=True)


def temporary_sibling(path: Path) -> Path:
    """A hidden, unused name in the same folder with the same suffix, so that a rename is atomic."""
    return path.with_name(f".talkhead-{secrets.token_hex(6)}{path.suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` at the end, remove it on any error.

    Raises:
        TalkheadError: the folder is missing or cannot be written to.
    """
    check_output(path, overwrite=True)
    temporary = temporary_sibling(path)
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105  (one call, atomic, also over an existing file)
    except OSError as error:
        raise TalkheadError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
