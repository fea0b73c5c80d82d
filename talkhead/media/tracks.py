"""The tracks of a media file: what ffmpeg lists, and which sound track to use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input
from talkhead.media.kinds import demuxer_of

FLAGS = (
    *("default", "dub", "original", "comment", "lyrics", "karaoke", "forced"),
    *("hearing_impaired", "visual_impaired", "clean_effects", "attached_pic", "captions"),
    *("descriptions", "metadata", "dependent", "still_image", "non_diegetic"),
)
"""ffmpeg's names of dispositions."""

_STREAM = re.compile(
    r"^\s*Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\(([^)]*)\))?: (\w+): (\w+)(.*)$", re.MULTILINE
)
_START = re.compile(r", start (-?\d+(?:\.\d+)?)")
_CHAPTER = re.compile(r"^\s*Chapter #0:\d+: start ", re.MULTILINE)


@dataclass(frozen=True)
class Track:
    """A track of a media file.

    Attributes:
        number: its place among all tracks of the file, from 0.
        kind: Video, Audio, Subtitle, Data or Attachment.
        codec: ffmpeg's name of the codec.
        language: the language tag, such as deu; empty without one.
        flags: those of `FLAGS` that it has.
        start_s: the time of its first packet.
        rate_hz: samples per second; None for other kinds than sound.
        is_mono: whether it is sound of one channel.
    """

    number: int
    kind: str
    codec: str
    language: str = ""
    flags: frozenset[str] = frozenset()
    start_s: float = 0.0
    rate_hz: int | None = None
    is_mono: bool = False


def list_tracks(path: Path) -> list[Track]:
    """Return the tracks of a file; nothing is decoded. A file that is no media has none.

    Raises:
        TalkheadError: the file is missing or not readable.
    """
    check_input(path)
    return parse_tracks(ffmpeg.run_ffmpeg(ffmpeg.list_streams_args(path, demuxer_of(path)))[2])


def parse_tracks(listing: str) -> list[Track]:
    """Return the tracks that ffmpeg lists for its input, in their order."""
    tracks: dict[int, Track] = {}
    # A program of a broadcast may list a track twice.
    for number, language, kind, codec, rest in _STREAM.findall(input_part(listing)):
        found = re.search(r"((?: \([a-z ]+\))+)$", rest.rstrip())
        words = re.findall(r"\(([a-z ]+)\)", found.group(1)) if found else []
        start = _START.search(rest)
        rate = re.search(r", (\d+) Hz", rest) if kind == "Audio" else None
        tracks[int(number)] = Track(
            number=int(number),
            kind=kind,
            codec=codec,
            language="" if language == "und" else language,
            flags=frozenset(word.replace(" ", "_") for word in words) & frozenset(FLAGS),
            start_s=float(start.group(1)) if start else 0.0,
            rate_hz=int(rate.group(1)) if rate else None,
            is_mono=re.search(r" Hz, (mono|1 channels)\b", rest) is not None,
        )
    return [tracks[number] for number in sorted(tracks)]


def input_part(listing: str) -> str:
    """Return what ffmpeg says of its input: the same lines follow for an output."""
    return re.split(r"^(?:Stream mapping:|Output #0)", listing, maxsplit=1, flags=re.MULTILINE)[0]


def num_chapters(listing: str) -> int:
    """Return how many chapters ffmpeg lists for its input."""
    return len(_CHAPTER.findall(input_part(listing)))


def sound_tracks(tracks: Sequence[Track]) -> list[Track]:
    """Return the tracks of sound."""
    return [track for track in tracks if track.kind == "Audio"]


def choose_sound(tracks: Sequence[Track], wanted: str | None, path: Path) -> int:
    """Return which sound track to use, counted from 0 among those of sound.

    Args:
        tracks: the tracks of the file; at least one is sound.
        wanted: a number from 1, or a language tag; None for the track that is flagged as the
            default, or else the first. If several have the language, the same applies to them.
        path: the file, for messages.

    Raises:
        TalkheadError: there is no such track.
    """
    sounds = sound_tracks(tracks)
    fitting = list(range(len(sounds)))
    if wanted is not None and wanted.isascii() and wanted.isdecimal():
        fitting = [index for index in fitting if str(index + 1) == wanted.lstrip("0")]
    elif wanted is not None:
        fitting = [k for k in fitting if sounds[k].language.lower() == wanted.lower() != ""]
    if not fitting:
        there = ", ".join(
            f"{number} ({track.language or 'no language'})"
            for number, track in enumerate(sounds, 1)
        )
        raise TalkheadError(
            f"{path} has no sound track {wanted}: choose from {there}"
            if sounds
            else f"{path} has no sound track"
        )
    return next((k for k in fitting if "default" in sounds[k].flags), fitting[0])


def check_sound_track(path: Path, wanted: str | None) -> int:
    """Return which sound track of a file to use, as `choose_sound`.

    Raises:
        TalkheadError: the file is missing or has no such track.
    """
    return choose_sound(list_tracks(path), wanted, path)
