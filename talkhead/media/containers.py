"""The formats that videos are written to, by the ending of the name, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from talkhead.errors import TalkheadError

_TEXTS = ("ass", "mov_text", "ssa", "srt", "subrip", "text", "webvtt")
_PICTURES = ("dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle")


@dataclass(frozen=True)
class Container:
    """A container.

    Attributes:
        name: what people call it.
        muxer: ffmpeg's name.
        suffixes: endings of file names.
        picture: how frames are encoded.
        voice: ffmpeg's encoder for sound; None if it holds none.
        sounds: codecs of sound tracks that it holds unchanged; others are encoded as the voice.
        subtitles: the encoder for each codec of subtitles that it holds; copy leaves them as
            they are.
        flags: the dispositions that it stores.
        tags: the keys of the file's metadata that it stores; None for any.
        holds_files: whether it holds attachments, such as fonts.
        has_alpha: whether it holds transparency.
        max_s: the longest that makes sense; None for any length.
        max_side_px: a larger picture is scaled down; None for any size.
        languages: the tags that it stores, and how it spells them; None for any.
    """

    name: str
    muxer: str
    suffixes: tuple[str, ...]
    picture: Literal["h264", "vp9", "prores", "gif", "webp", "png"]
    voice: str | None
    sounds: frozenset[str]
    subtitles: Mapping[str, str]
    flags: frozenset[str]
    tags: frozenset[str] | None
    holds_files: bool
    has_alpha: bool = False
    max_s: float | None = None
    max_side_px: int | None = None
    languages: Mapping[str, str] | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether every frame is a file."""
        return self.picture == "png"


_FLAGS = frozenset({"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"})

# Keys that mp4 has boxes for; other keys need a more general, less readable box.
MP4_KEYS = frozenset(
    ("album", "artist", "comment", "composer", "copyright", "date", "description", "genre", "title")
)
_PCM = frozenset({"pcm_f32le", "pcm_s16be", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_u8"})
MP4 = Container(
    name="mp4",
    muxer="mp4",
    suffixes=(".mp4", ".m4v"),
    picture="h264",
    voice="aac",
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
    picture="h264",
    voice="aac",
    sounds=MP4.sounds | {"mlp", "mp2", "truehd", "tta", "vorbis", "wavpack"} | _PCM,
    subtitles=dict.fromkeys((*_TEXTS, *_PICTURES), "copy") | {"mov_text": "subrip"},
    flags=_FLAGS | {"original"},
    tags=None,
    holds_files=True,
)
WEBM = Container(
    name="webm",
    muxer="webm",
    suffixes=(".webm",),
    picture="vp9",
    voice="libopus",
    sounds=frozenset({"opus", "vorbis"}),
    subtitles=dict.fromkeys(_TEXTS, "webvtt") | {"webvtt": "copy"},
    flags=frozenset({"default", "forced"}),
    tags=None,
    holds_files=False,
    has_alpha=True,
)
MOV = Container(
    name="mov",
    muxer="mov",
    suffixes=(".mov",),
    picture="prores",
    voice="pcm_s24le",  # as editors expect beside ProRes; nothing is lost
    sounds=frozenset({"aac", "ac3", "alac", "eac3", "mp2", "mp3"}) | _PCM,
    subtitles=MP4.subtitles,
    flags=frozenset({"default"}),
    tags=MP4_KEYS,
    holds_files=False,
    has_alpha=True,
    # QuickTime numbers languages; ffmpeg knows these numbers by these names alone.
    languages={
        **{name: name for name in ("ara", "chi", "dut", "eng", "fra", "ger", "hin", "ita", "jpn")},
        **{name: name for name in ("kor", "pol", "por", "rus", "spa", "tur")},
        **{"deu": "ger", "fre": "fra", "nld": "dut", "zho": "chi"},
    },
)


def _pictures(
    name: Literal["gif", "webp", "png"],
    *,
    has_alpha: bool,
    max_s: float | None = None,
    max_side_px: int | None = None,
) -> Container:
    return Container(
        name=name,
        muxer=name,
        suffixes=(f".{name}",),
        picture=name,
        voice=None,
        sounds=frozenset(),
        subtitles={},
        flags=frozenset(),
        tags=frozenset(),
        holds_files=False,
        has_alpha=has_alpha,
        max_s=max_s,
        max_side_px=max_side_px,
    )


# Encoders of both hold all frames, or all of the file, in memory.
GIF = _pictures("gif", has_alpha=False, max_s=10, max_side_px=480)
WEBP = _pictures("webp", has_alpha=True, max_s=30)
PNG = _pictures("png", has_alpha=True)
CONTAINERS = (MP4, MATROSKA, WEBM, MOV, GIF, WEBP, PNG)
SINGLE_FILES = tuple(each for each in CONTAINERS if not each.is_sequence)
VIDEO_OUTPUTS = frozenset(suffix for each in SINGLE_FILES for suffix in each.suffixes)
"""Endings of the videos that can be written, each as one file."""
LONG_VIDEOS = tuple(each for each in SINGLE_FILES if each.max_s is None)
LIVE_CONTAINERS = (MP4,)
"""What a video can be written to while its sound comes in."""


def container_of(path: Path) -> Container | None:
    """Return the container that a file's name asks for, or None if there is none."""
    suffix = path.suffix.lower()
    return next((each for each in CONTAINERS if suffix in each.suffixes), None)


def check_video_name(path: Path, containers: Sequence[Container] = SINGLE_FILES) -> Container:
    """Return the container of an output by its name.

    Raises:
        TalkheadError: the name ends in none of those of the containers.
    """
    container = container_of(path)
    if container is None or container not in containers:
        endings = [f".{each.name}" for each in containers]
        raise TalkheadError(
            f"{path} has no video suffix; end the output's name in {', '.join(endings[:-1])} or"
            f" {endings[-1]}"
        )
    return container


def check_length(path: Path, duration_s: float) -> None:
    """Refuse a video that is too long for what its name asks for, before slow work starts.

    Raises:
        TalkheadError: the format is for short videos.
    """
    container = container_of(path)
    if container is not None and container.max_s is not None and duration_s > container.max_s:
        raise TalkheadError(
            f"{path} would be {duration_s:.1f} s long, but a {container.name} is for at most"
            f" {container.max_s:g} s: choose .webm or .mp4, or a shorter sound"
        )
