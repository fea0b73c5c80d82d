"""Write files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from talkhead.errors import TalkheadError

HIDDEN = ".talkhead-"
"""Prefix of temporary file names."""
_DESCRIPTORS = "/proc/self/fd"


def check_output(path: Path, *, overwrite: bool) -> None:
    """Reject an output that cannot be written, before slow work starts.

    Raises:
        TalkheadError: the folder is missing or read-only, the target is not a regular file, or it
            exists and `overwrite` is false.
    """
    folder = path.parent
    if path.is_dir():
        raise TalkheadError(f"{path} is a directory; name a file in it")
    if _is_ring(path):
        raise TalkheadError(f"{path} is a circular symbolic link; choose another output")
    if not folder.is_dir():
        raise TalkheadError(f"output folder {folder} does not exist; create it first")
    if path.exists():
        if not path.is_file():
            raise TalkheadError(f"{path} is not a regular file; choose another output")
        if not overwrite:
            raise TalkheadError(f"{path} exists; choose another name or allow overwriting")
    # Permission bits do not tell the whole story (root, read-only mounts, quotas): create a file.
    try:
        PendingFile(path).close()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise TalkheadError(
            f"output folder {folder} cannot be written to ({reason}); choose another"
        ) from error


def _is_ring(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        return getattr(error, "errno", None) == errno.ELOOP
    return False


class PendingFile:
    """An output file that has no name until it is complete.

    Even a killed process leaves nothing behind. If the system does not support unnamed files (only
    Linux does, and not on every network drive), the file gets a hidden name in its target's folder.

    Attributes:
        path: where to write; another program has to inherit the descriptor.
        descriptor: descriptor of the unnamed file, or None if it has a hidden name.
    """

    def __init__(self, target: Path) -> None:
        """Create the file, empty.

        Raises:
            OSError: the target's folder is missing or not writable.
        """
        self.target = target.resolve()  # replace what a link points to, not the link
        self.descriptor: int | None = None
        flag = getattr(os, "O_TMPFILE", None)
        if flag is not None and Path(_DESCRIPTORS).is_dir():
            with suppress(OSError):
                self.descriptor = os.open(self.target.parent, flag | os.O_RDWR, 0o666)
        if self.descriptor is not None:
            self.path = Path(_DESCRIPTORS, str(self.descriptor))
        else:
            self.path = temporary_sibling(self.target)
            self.path.touch(exist_ok=False)

    def publish(self, *, overwrite: bool) -> None:
        """Give the file its name, atomically.

        Raises:
            FileExistsError: the target exists and `overwrite` is false.
            OSError: the file cannot be given that name.
        """
        if self.descriptor is not None:
            if not overwrite:
                _link(self.path, self.target)
                return
            # Linking cannot replace a file, but renaming can.
            named = temporary_sibling(self.target)
            _link(self.path, named)
            try:
                named.replace(self.target)
            except OSError:
                named.unlink()
                raise
        elif not overwrite and self.target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.target))
        else:
            self.path.replace(self.target)

    def close(self) -> None:
        """Discard the file unless it was published."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
        else:
            self.path.unlink(missing_ok=True)


def _link(path: Path, target: Path) -> None:
    # Python follows the link that stands for the open file only if given a folder's descriptor.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.link(path, target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def temporary_sibling(path: Path) -> Path:
    """Return a hidden, unused name with the same folder and suffix, so that a rename is atomic."""
    return path.with_name(f"{HIDDEN}{secrets.token_hex(6)}{path.suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `path` at the end or is discarded on an error.

    Raises:
        TalkheadError: the folder is missing or not writable.
    """
    check_output(path, overwrite=True)
    try:
        pending = PendingFile(path)
        try:
            yield pending.path
            pending.publish(overwrite=True)
        finally:
            pending.close()
    except OSError as error:
        raise TalkheadError(f"{path} cannot be written ({error.strerror or error})") from error
