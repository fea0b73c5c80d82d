"""The folder of uploads and results, and whose they are."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder for all uploads and results, which is deleted at the end.

    gradio's own is one folder for all users and programs of the machine, and is kept. gradio looks
    for the name when it is imported.
    """
    with tempfile.TemporaryDirectory(prefix="talkhead-app-") as name:
        folder = Path(name).resolve()
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


class Storage:
    """Deletes the files of visitors who have left; gradio deletes what is old.

    gradio stores equal uploads of several visitors as one file, which stays until the last of them
    has left.

    Args:
        folder: the folder of uploads and results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._files: dict[str, dict[Path, int]] = {}
        """For each visitor, files and their inode numbers: an upload replaces an equal one."""
        self._shared: frozenset[Path] = frozenset()
        self._lock = threading.Lock()

    def share(self) -> None:
        """Keep all files of this moment for everyone: the page's examples."""
        self._shared = frozenset(path for path in self.folder.rglob("*") if path.is_file())

    def keep(self, visitor: str, paths: Iterable[Path]) -> None:
        """Note that a visitor uses some files."""
        with self._lock:
            self._forget_deleted()
            files = self._files.setdefault(visitor, {})
            for path in paths:
                if path not in self._shared and self._has(path):
                    with suppress(OSError):
                        files[path] = path.stat().st_ino

    def forget(self, visitor: str | None) -> None:
        """Delete the files that no other visitor uses."""
        with self._lock:
            files = self._files.pop(visitor or "", {})
            for others in self._files.values():
                files = {path: files[path] for path in files.keys() - others.keys()}
            for path, inode in files.items():
                with suppress(OSError):
                    if path.stat().st_ino == inode:
                        self.delete(path)

    def delete(self, path: Path) -> None:
        """Delete a file of the folder now, and its own folder if nothing else is in it."""
        if self._has(path):
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()

    def _has(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder)

    def _forget_deleted(self) -> None:
        """Forget files that were deleted since, so that programs that never leave cost nothing."""
        for visitor, files in list(self._files.items()):
            for path in [path for path in files if not path.exists()]:
                del files[path]
            if not files:
                del self._files[visitor]
