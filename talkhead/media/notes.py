"""The notes in a video's or sound's container, such as title and comment; and its codecs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input

MAX_NOTES_BYTES = 1_000_000
"""Of all the notes together; what is beyond is not read."""

_LINE = re.compile(r"([^\\\n]*(?:\\.[^\\\n]*)*)\n", re.DOTALL)
_ENTRY = re.compile(r"([^\\=]*(?:\\.[^\\=]*)*)=(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class StreamInfo:
    """What a container holds: the codecs of its first picture and sound stream, and its length."""

    video_codec: str | None
    audio_codec: str | None
    duration_s: float
    """0 where the container states none."""


def read_notes(path: Path) -> dict[str, str]:
    """Read the notes of a container; nothing is decoded.

    Returns:
        Texts by their keys, which are in small letters. A stranger may have written them.

    Raises:
        TalkheadError: the file cannot be read, or no container is recognised.
    """
    check_input(path)
    with ffmpeg.running_ffmpeg(ffmpeg.read_notes_args(path)) as process:
        output = process.stdout.read(MAX_NOTES_BYTES)
        if len(output) < MAX_NOTES_BYTES and process.wait() != 0:
            reason = ffmpeg.first_error(process.stderr_text())
            raise TalkheadError(f"{path} is no sound or video that can be read ({reason})")
    return parse_notes(output.decode("utf-8", "replace"))


def parse_notes(text: str) -> dict[str, str]:
    """Parse ffmpeg's text form of notes: those of the whole file, which come first.

    The first of two notes with the same key counts.
    """
    notes: dict[str, str] = {}
    for line in _lines(text):
        if line.startswith("["):  # from here on they are a stream's or a chapter's
            break
        entry = _ENTRY.fullmatch(line)
        if entry is not None and not line.startswith(";"):
            key, value = (_ESCAPED.sub(r"\1", part) for part in entry.groups())
            notes.setdefault(key.lower(), value)
    return notes


def _lines(text: str) -> Iterator[str]:
    """Yield the lines, which may hold escaped line feeds; one that is cut off ends them."""
    # Not with findall: it would look for an end anew at every character of a line that has none.
    start = 0
    while (line := _LINE.match(text, start)) is not None:
        yield line.group(1)
        start = line.end()


def probe_streams(path: Path) -> StreamInfo:
    """Read which codecs a container holds; nothing is decoded.

    Raises:
        TalkheadError: the file cannot be read, or holds neither picture nor sound.
    """
    check_input(path)
    _, _, messages = ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path))
    info = StreamInfo(
        video_codec=ffmpeg.video_codec(messages),
        audio_codec=ffmpeg.audio_codec(messages),
        duration_s=ffmpeg.declared_duration_s(messages) or 0.0,
    )
    if info.video_codec is None and info.audio_codec is None:
        reason = ffmpeg.first_error(messages)
        raise TalkheadError(f"{path} is no sound or video that can be read ({reason})")
    return info
