"""Write frames as numbered PNG files in a folder that appears whole or not at all."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from talkhead.atomic import HIDDEN
from talkhead.errors import TalkheadError
from talkhead.media.picture_notes import png_notes

LOCKS = importlib.util.find_spec("fcntl") is not None
"""Whether folders can be locked: not on Windows."""

Frames = npt.NDArray[np.uint8]

COMPRESSION = 3
"""Of zlib, from 0 to 9: higher levels take twice the time for a few percent."""
NUM_THREADS = 2
QUIET_S = 10.0
"""An unfinished folder counts as left behind after this long without a new file."""
_MAX_WAITING = 8
_PLACE = re.compile(r"%(0[1-9])?d")
_UNFINISHED = re.compile(re.escape(HIDDEN) + r"[0-9a-f]{12}\.frames")


def check_sequence(path: Path, *, overwrite: bool) -> None:
    """Reject a name that frames cannot be written to, before slow work starts.

    Raises:
        TalkheadError: the name has no place for the number; its folder exists and has other files,
            or frames and `overwrite` is false; or it cannot be created.
    """
    if len(_PLACE.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise TalkheadError(
            f"{path} would hold one frame: number the frames in a folder, such as frames/%05d.png"
        )
    folder = path.parent
    if not folder.name or folder.resolve() == Path.cwd():
        raise TalkheadError(f"{path} needs a folder of its own, such as frames/{path.name}")
    if os.path.lexists(folder) and not folder.is_dir():
        raise TalkheadError(f"{folder} is not a folder; choose another output")
    if not folder.parent.is_dir():
        raise TalkheadError(f"output folder {folder.parent} does not exist; create it first")
    if folder.is_dir():
        names = [each.name for each in folder.iterdir()]
        if any(not _matcher(path.name).fullmatch(name) for name in names):
            raise TalkheadError(f"{folder} has other files; choose a new folder for the frames")
        if names and not overwrite:
            raise TalkheadError(f"{folder} has frames; choose another folder or allow overwriting")
    try:
        probe = _unfinished_beside(folder)
        probe.mkdir()
        now_s = probe.stat().st_mtime  # by the file system's clock
        probe.rmdir()
        remove_unfinished(folder.parent, now_s)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TalkheadError(
            f"output folder {folder.parent} cannot be written to ({reason}); choose another"
        ) from error


def _matcher(name: str) -> re.Pattern[str]:
    before, after = _PLACE.split(name)[0], _PLACE.split(name)[-1]
    return re.compile(re.escape(before) + r"\d+" + re.escape(after))


def _unfinished_beside(folder: Path) -> Path:
    return folder.resolve().with_name(f"{HIDDEN}{secrets.token_hex(6)}.frames")


def remove_unfinished(folder: Path, now_s: float) -> None:
    """Remove the unfinished sequences that killed processes left in a folder.

    A running process locks its own, a moment after it was created. Where folders cannot be locked,
    all are left.

    Args:
        folder: where to look.
        now_s: the time, by the clock of the file system.
    """
    if not LOCKS:
        return
    for each in folder.glob(f"{HIDDEN}*.frames"):
        if _UNFINISHED.fullmatch(each.name) and each.is_dir():
            with suppress(OSError), _locked(each):
                if now_s - each.stat().st_mtime > QUIET_S:
                    shutil.rmtree(each)


def _locked(folder: Path) -> ExitStack:
    """Lock a folder; the lock ends with the process, however that ends.

    Raises:
        OSError: another process has locked it.
    """
    stack = ExitStack()
    if LOCKS:
        import fcntl

        with ExitStack() as opening:
            descriptor = os.open(folder, os.O_RDONLY)
            opening.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack = opening.pop_all()
    return stack


class PngSequenceWriter:
    """Write frames to numbered files, from 1, with the notes in each.

    They are written to a hidden folder beside the final one, which gets its name at the end. Any
    exception removes it; if the process is killed, the next sequence in the same place does. Use
    it as a context manager.
    """

    def __init__(
        self,
        target: Path,
        *,
        size: tuple[int, int],
        notes: Mapping[str, str] | None = None,
        overwrite: bool = False,
        has_alpha: bool = False,
    ) -> None:
        """Check the name; write nothing yet.

        Args:
            target: such as ``frames/%05d.png``; the folder must not exist, or be empty.
            size: (width, height) of the frames.
            notes: values of `comment` and `description`.
            overwrite: whether frames in the folder are replaced.
            has_alpha: whether the frames are RGBA.

        Raises:
            TalkheadError: as `check_sequence`.
        """
        check_sequence(target, overwrite=overwrite)
        self.target = target
        self._shape = size[1], size[0], 4 if has_alpha else 3
        self._notes = dict(notes or {})
        self._overwrite = overwrite
        self._num_frames = 0
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> PngSequenceWriter:
        """Create the hidden folder."""
        with ExitStack() as stack:
            self._place = _unfinished_beside(self.target.parent)
            self._place.mkdir()
            stack.callback(shutil.rmtree, self._place, ignore_errors=True)
            with suppress(OSError):  # network drives without locks
                stack.enter_context(_locked(self._place))
            self._pool = stack.enter_context(ThreadPoolExecutor(NUM_THREADS))
            self._stack = stack.pop_all()
        return self

    def write(self, frames: Frames) -> None:
        """Append frames: uint8, shape = (T, H, W, C) or (H, W, C).

        Raises:
            ValueError: the shape or type is wrong.
            TalkheadError: a file cannot be written.
        """
        if frames.dtype != np.uint8 or frames.shape[-3:] != self._shape or frames.ndim > 4:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not uint8 {self._shape}")
        for frame in frames.reshape(-1, *self._shape):
            self._num_frames += 1
            path = self._place / (self.target.name % self._num_frames)
            self._waiting.append(self._pool.submit(self._save, path, frame))
            if len(self._waiting) > _MAX_WAITING:
                self._wait(self._waiting.popleft())

    def _save(self, path: Path, frame: Frames) -> None:
        image: Any = Image.fromarray(frame)
        image.save(path, "PNG", compress_level=COMPRESSION, pnginfo=png_notes(self._notes))

    def _wait(self, saved: Future[None]) -> None:
        try:
            saved.result()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> TalkheadError:
        return TalkheadError(
            f"{self.target.parent} cannot be written ({error.strerror or error}); check the free"
            " disk space"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Name the folder; after an exception, remove it."""
        with self._stack:
            if kind is None:
                while self._waiting:
                    self._wait(self._waiting.popleft())
                if self._num_frames == 0:
                    raise TalkheadError(f"{self.target} would have no frames; nothing was written")
                try:
                    self._publish()
                except OSError as failure:
                    raise self._failure(failure) from failure

    def _publish(self) -> None:
        folder = self.target.parent.resolve()
        old: Path | None = None
        if folder.is_dir():
            check_sequence(self.target, overwrite=self._overwrite)  # it may have been filled since
            old = _unfinished_beside(folder)
            folder.rename(old)
        try:
            self._place.rename(folder)
        except OSError:
            if old is not None:
                old.rename(folder)
            raise
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
