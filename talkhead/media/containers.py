"""The containers that videos are written to, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TEXTS = ("ass", "mov_text", "ssa", "srt", "subrip", "text", "webvtt")
_PICTURES = ("dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle")


@dataclass(frozen=True)
class Container:
    """A container.

    Attributes:
        name: what people call it.
        muxer: ffmpeg's name.
        suffixes: endings of file names.
        sounds: codecs of sound tracks that it holds unchanged; others are encoded to AAC.
        subtitles: the encoder for each codec of subtitles that it holds; copy leaves them as
            they are.
        flags: the dispositions that it stores.
        tags: the keys of the file's metadata that it stores; None for any.
        holds_files: whether it holds attachments, such as fonts.
    """

    name: str
    muxer: str
    suffixes: tuple[str, ...]
    sounds: frozenset[str]
    subtitles: Mapping[str, str]
    flags: frozenset[str]
    tags: frozenset[str] | None
    holds_files: bool


_FLAGS = frozenset({"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"})

# Keys that mp4 has boxes for; other keys need a more general, less readable box.
MP4_KEYS = frozenset(
    ("album", "artist", "comment", "composer", "copyright", "date", "description", "genre", "title")
)
MP4 = Container(
    name="mp4",
    muxer="mp4",
    suffixes=(".mp4", ".m4v", ".mov"),
    sounds=frozenset({"aac", "ac3", "alac", "dts", "eac3", "flac", "mp3", "opus"}),
    subtitles=dict.fromkeys(_TEXTS, "mov_text") | {"mov_text": "copy"},
    flags=_FLAGS,
    tags=MP4_KEYS,
    holds_files=False,
)
MATROSKA = Container(
    name="mkv",
    muxer="matroska",
    suffixes=(".mkv",),
    sounds=MP4.sounds
    | {"mlp", "mp2", "truehd", "tta", "vorbis", "wavpack"}
    | {"pcm_f32le", "pcm_s16be", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8"},
    subtitles=dict.fromkeys((*_TEXTS, *_PICTURES), "copy") | {"mov_text": "subrip"},
    flags=_FLAGS | {"original"},
    tags=None,
    holds_files=True,
)
CONTAINERS = (MP4, MATROSKA)
VIDEO_OUTPUTS = frozenset(suffix for each in CONTAINERS for suffix in each.suffixes)
"""Endings of the videos that can be written."""


def container_of(path: Path) -> Container | None:
    """Return the container that a file's name asks for, or None if there is none."""
    suffix = path.suffix.lower()
    return next((each for each in CONTAINERS if suffix in each.suffixes), None)
