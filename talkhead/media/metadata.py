"""The metadata of a media container, such as title and comment, and its codecs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input
from talkhead.media.picture_notes import read_picture_notes

MAX_NOTES_BYTES = 1_000_000
"""Limit for all metadata together; the rest is not read."""

_LINE = re.compile(r"([^\\\n]*(?:\\.[^\\\n]*)*)\n", re.DOTALL)
_ENTRY = re.compile(r"([^\\=]*(?:\\.[^\\=]*)*)=(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class StreamInfo:
    """A container's duration, and the codecs of its first video and audio streams."""

    video_codec: str | None
    audio_codec: str | None
    duration_s: float
    """0 if the container declares none."""


def read_notes(path: Path) -> dict[str, str]:
    """Read the metadata of a container, or of a GIF, WebP or PNG; nothing is decoded.

    Returns:
        Values by lower-case key. Do not trust them: anyone may have written them.

    Raises:
        TalkheadError: the file cannot be read, or its container is not recognised.
    """
    check_input(path)
    if (notes := read_picture_notes(path)) is not None:
        return notes
    with ffmpeg.running_ffmpeg(ffmpeg.read_notes_args(path)) as process:
        output = process.stdout.read(MAX_NOTES_BYTES)
        if len(output) < MAX_NOTES_BYTES and process.wait() != 0:
            reason = ffmpeg.first_error(process.stderr_text())
            raise TalkheadError(
                f"{path} cannot be read as audio or video ({reason}); copy it again, or convert it"
            )
    return parse_notes(output.decode("utf-8", "replace"))


def parse_notes(text: str) -> dict[str, str]:
    """Parse metadata in ffmpeg's text format: only the entries of the whole file, which come first.

    If a key appears twice, the first entry counts.
    """
    return parse_sections(text)[0]


def parse_sections(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Parse metadata in ffmpeg's text format: the entries of the file, and of each stream.

    If a key appears twice in a section, the first entry counts.
    """
    notes: dict[str, str] = {}
    streams: list[dict[str, str]] = []
    section: dict[str, str] = notes
    for line in _lines(text):
        if line == "[STREAM]":
            section = {}
            streams.append(section)
        elif line.startswith("["):  # a chapter
            section = {}
        entry = _ENTRY.fullmatch(line)
        if entry is not None and not line.startswith((";", "[")):
            key, value = (_ESCAPED.sub(r"\1", part) for part in entry.groups())
            section.setdefault(key.lower(), value)
    return notes, streams


def _lines(text: str) -> Iterator[str]:
    """Yield the lines, which may hold escaped line feeds, up to one that is cut off."""
    # findall would search for a line's end again from every character of a line without one.
    start = 0
    while (line := _LINE.match(text, start)) is not None:
        yield line.group(1)
        start = line.end()


def probe_streams(path: Path) -> StreamInfo:
    """Read which codecs a container holds; nothing is decoded.

    Raises:
        TalkheadError: the file cannot be read, or holds neither video nor audio.
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
        raise TalkheadError(
            f"{path} cannot be read as audio or video ({reason}); copy it again, or convert it"
        )
    return info
