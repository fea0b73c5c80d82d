"""`-` as a file name: the sound comes from stdin, the video goes to stdout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import IO

from talkhead.cli.streams import is_closed
from talkhead.errors import TalkheadError
from talkhead.jobs.outputs import check_target
from talkhead.media.files import check_input

DASH = Path("-")


def check_sound(audio: Path) -> None:
    """Reject what cannot be a sound, before anything is read.

    Raises:
        TalkheadError: as for `check_input`; or stdin is closed or a terminal.
    """
    if audio != DASH:
        check_input(audio)
    elif sys.stdin is None or is_closed(0):
        raise TalkheadError("stdin is closed: pipe a sound into it, or name a file")
    elif sys.stdin.isatty():
        raise TalkheadError("stdin is a terminal: pipe a sound into it, or name a file")


@contextmanager
def sound_file(audio: Path) -> Iterator[Path]:
    """Yield the file to read the sound from: `audio`, or a temporary copy of stdin.

    Sound is read more than once, first for its length, so a pipe has to be stored; on disk, because
    it may be long. Errors raised meanwhile name stdin instead of the copy.

    Raises:
        TalkheadError: stdin is empty, or cannot be copied.
    """
    if audio != DASH:
        yield audio
        return
    with tempfile.TemporaryDirectory(prefix="talkhead-") as folder:
        path = Path(folder) / "stdin"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise TalkheadError(f"stdin cannot be copied to {folder} ({error.strerror})") from error
        if path.stat().st_size == 0:
            raise TalkheadError("stdin is empty: the program before the pipe wrote no sound")
        try:
            yield path
        except TalkheadError as error:
            raise type(error)(str(error).replace(str(path), "stdin")) from error


def check_video(
    output: Path, *, overwrite: bool, as_json: bool, check: Callable[..., None] = check_target
) -> None:
    """Reject an output that a video cannot be written to, before slow work starts.

    Args:
        output: a file, or - for stdout.
        overwrite: whether an existing file may be replaced.
        as_json: whether stdout gets JSON.
        check: checks a file, such as `check_output`, which takes any ending.

    Raises:
        TalkheadError: as for `check_target`; or stdout is closed, a terminal, or needed for JSON.
    """
    if output != DASH:
        check(output, overwrite=overwrite)
    elif as_json:
        raise TalkheadError(
            "stdout cannot carry both the video and JSON: leave out --json, or name a file"
        )
    elif sys.stdout is None or is_closed(1):
        raise TalkheadError("stdout is closed: pipe the video into a program, or name a file")
    elif sys.stdout.isatty():
        raise TalkheadError("stdout is a terminal: pipe the video into a program, or name a file")


@contextmanager
def video_target(output: Path) -> Iterator[Path | IO[bytes]]:
    """Yield what to write the video to: `output`, or stdout.

    Anything printed meanwhile, for example by a library, goes to stderr.
    """
    if output != DASH:
        yield output
        return
    sys.stdout.flush()
    video = sys.stdout.buffer
    with redirect_stdout(sys.stderr):
        yield video
