"""Check the input files that a user names."""

from __future__ import annotations

import os
from pathlib import Path

from talkhead.errors import TalkheadError

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx"),
        *(".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".dv"),
        *(".wmv", ".asf", ".flv", ".f4v", ".ogv", ".rm", ".rmvb"),
    }
)
"""Suffixes of videos in a folder. The content of a file named explicitly decides: see `kinds`."""


def check_input(path: Path) -> None:
    """Reject a path that cannot be an input file, before a decoder opens it.

    Raises:
        TalkheadError: the path is missing, a directory, a pipe, a device, empty, or not readable.
    """
    try:
        if path.is_dir():
            raise TalkheadError(f"{path} is a directory; name a file in it")
        if not path.exists():
            raise TalkheadError(f"{path} does not exist; check the name and the folder")
        # Reading a pipe without a writer would block, and a device has no end.
        if not path.is_file():
            raise TalkheadError(f"{path} is not a regular file; copy its content to one")
        with path.open("rb") as file:
            if not file.read(1):
                raise TalkheadError(f"{path} is empty; copy or download it again")
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise TalkheadError(f"{path} cannot be read ({reason}); check its permissions") from error


def native_name(path: Path) -> str | bytes:
    """Return a file's name for libraries that encode text strictly: not every name is UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)
