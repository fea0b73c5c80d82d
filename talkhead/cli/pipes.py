"""`-` in place of a file's name: the sound comes from stdin, the video goes to stdout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import IO

from talkhead.cli.streams import is_closed
from talkhead.errors import TalkheadError
from talkhead.media.files import check_input, check_output

DASH = Path("-")


def check_sound(audio: Path) -> None:
    """Refuse what cannot be a sound, before anything is read.

    Raises:
        TalkheadError: as for `check_input`; or nobody feeds stdin.
    """
    if audio != DASH:
        check_input(audio)
    elif sys.stdin is None or is_closed(0):
        raise TalkheadError("stdin is closed: pipe a sound into it, or name a file")
    elif sys.stdin.isatty():
        raise TalkheadError("stdin is a terminal: pipe a sound into it, or name a file")


@contextmanager
def sound_file(audio: Path) -> Iterator[Path]:
    """Yield the file to read the sound from: `audio`, or a copy of stdin that is removed after.

    Sound is read more than once, its length first, so that a pipe is stored; on disk, because it
    may be long. Errors that are met meanwhile say stdin and not the copy's name.

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
            raise TalkheadError("stdin is empty: the program before the pipe gave no sound")
        try:
            yield path
        except TalkheadError as error:
            raise type(error)(str(error).replace(str(path), "stdin")) from error


def check_video(output: Path, *, overwrite: bool, as_json: bool) -> None:
    """Refuse what a video could not be written to, before the slow work starts.

    Raises:
        TalkheadError: as for `check_output`; or stdout is no place for a video.
    """
    if output != DASH:
        check_output(output, overwrite=overwrite)
    elif as_json:
        raise TalkheadError("stdout takes the video or the JSON: leave out --json, or name a file")
    elif sys.stdout is None or is_closed(1):
        raise TalkheadError("stdout is closed: pipe the video into a program, or name a file")
    elif sys.stdout.isatty():
        raise TalkheadError("stdout is a terminal: pipe the video into a program, or name a file")


@contextmanager
def video_target(output: Path) -> Iterator[Path | IO[bytes]]:
    """Yield what the video is written to: `output`, or stdout.

    Whatever prints meanwhile, a library for example, prints to stderr.
    """
    if output != DASH:
        yield output
        return
    sys.stdout.flush()
    video = sys.stdout.buffer
    with redirect_stdout(sys.stderr):
        yield video
