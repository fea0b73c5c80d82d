"""Parse the names of MEAD, HDTF and GRID files: speaker, emotion, transcript.

Everything here comes from paths and from HDTF's own lists; no video is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.errors import TalkheadError

MEAD_VIEWS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
NUM_TEST_NEUTRAL, NUM_TEST_EMOTIONAL = 10, 6
"""Number of videos per level, the last ones, in MEAD's official test set."""
SOUND_SUFFIXES = (".m4a", ".wav", ".aac", ".mp3", ".flac")
"""File types of MEAD's sounds; the distribution uses the first."""

HDTF_RAW = "_videos_raw"
"""Folder in which the usual downloader keeps the full videos that it cut the clips from."""
_HDTF_CLIP = re.compile(r"(?P<part>(?:RD|WDA|WRA)_)?(?P<video>[A-Za-z][A-Za-z-]*\d*)_\d+")
_HDTF_RADIO = re.compile(r"Radio\d+")
_HDTF_ALIASES = {"WhipJimClyburn": "JamesClyburn"}
"""Two names of the same man; the lists give the same video for both."""

_GRID_SPEAKER = re.compile(r"s\d{1,2}")
_GRID_CODE = re.compile(r"[blps][bgrw][abiw][a-vx-z][1-9z][anps]")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    dict(zip("z123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


class MeadTake(NamedTuple):
    """One utterance of MEAD, shared by its sound and its videos, one per view."""

    person: str
    emotion: str
    level: int
    number: int

    def name(self, *view: str) -> str:
        """Return the name of the take, or of its video from one view."""
        numbers = f"level_{self.level}", f"{self.number:03d}"
        return "-".join((self.person, *view, self.emotion, *numbers))


def mead_video(path: Path) -> tuple[MeadTake, str] | None:
    """Return the take and the view of M030/video/front/happy/level_1/001.mp4.

    Other folders may come between the person's folder, `video`, the view and the emotion.

    Returns:
        None if the path does not match.
        None if the path is no such one.
    """
    found = _mead_take(path, "video")
    views = [name for name in found[1] if name in MEAD_VIEWS] if found else []
    return (found[0], views[0]) if found and views else None


def mead_sound(path: Path) -> MeadTake | None:
    """Return the take of M030/audio/happy/level_1/001.m4a, or None if the path does not match."""
    found = _mead_take(path, "audio") if path.suffix.lower() in SOUND_SUFFIXES else None
    return found[0] if found else None


def _mead_take(path: Path, kind: str) -> tuple[MeadTake, tuple[str, ...]] | None:
    """Return the take of a path, and the folders between the `kind` folder and the emotion's."""
    *folders, emotion, level, _ = ("", "", *path.absolute().parts)
    strength = re.fullmatch(r"level_(\d+)", level)
    number = re.fullmatch(r"\d+", path.stem)
    if emotion not in EMOTIONS or strength is None or number is None or kind not in folders:
        return None
    at = len(folders) - 1 - folders[::-1].index(kind)
    people = [name for name in folders[:at] if re.fullmatch(r"[MW]\d{3}", name)]
    take = MeadTake((people or folders[:at])[-1], emotion, int(strength[1]), int(number[0]))
    return take, tuple(folders[at + 1 :])


def official_test(emotion: str, numbers: Iterable[int]) -> frozenset[int]:
    """Return which of the numbers, for one person, view, level and emotion, MEAD tests on.

    The last 10 for the neutral emotion, the last 6 for the others.
    """
    count = NUM_TEST_NEUTRAL if emotion == NEUTRAL else NUM_TEST_EMOTIONAL
    return frozenset(sorted(set(numbers))[-count:])


class HdtfClip(NamedTuple):
    """Parts of an HDTF clip's name."""

    video: str
    """Name of the video in the lists."""
    speaker: str
    is_downloaders: bool
    """Named by the usual downloader's scheme, RD_Radio11_000, not the authors' one, Radio11_0."""

    @property
    def is_unmistakable(self) -> bool:
        """Whether the name is specific to HDTF; other data sets may also have a take_1."""
        return self.is_downloaders or _HDTF_RADIO.fullmatch(self.video) is not None


def hdtf_clip(path: Path) -> HdtfClip | None:
    """Parse the name of a clip, Radio11_0.mp4 or RD_Radio11_000.mp4.

    The number after a speaker's name counts the videos, as in BenCardin1. Radio11 is an exception:
    the number is part of the speaker's name.

    Returns:
        None if the path does not match.
    """
    name = _HDTF_CLIP.fullmatch(path.stem)
    if name is None:
        return None
    video = name["video"]
    speaker = video if _HDTF_RADIO.fullmatch(video) else video.rstrip("0123456789")
    return HdtfClip(video, _HDTF_ALIASES.get(speaker, speaker), name["part"] is not None)


def read_hdtf_lists(folder: Path) -> dict[str, int | None]:
    """Read HDTF's lists, in a folder or next to it, for the number of clips per video.

    Returns:
        Number of clips by video; None if the lists name the video but not its clips.

    Raises:
        TalkheadError: a list is not text.
    """
    named: dict[str, int | None] = {}
    for kind in ("video_url", "annotion_time"):  # the second kind overrides the first
        patterns = [f"{part}_{kind}.txt" for part in ("RD", "WDA", "WRA")]
        beside = [folder.absolute().parent / pattern for pattern in patterns]
        inside = [path for pattern in patterns for path in folder.rglob(pattern)]
        for path in sorted({path for path in (*inside, *beside) if path.is_file()}):
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise TalkheadError(f"{path} is not a list of HDTF: {error}") from error
            for video, *fields in filter(None, map(str.split, lines)):
                name = video.removesuffix(".mp4")
                named[name] = len(fields) if kind == "annotion_time" else None
    return named


def grid_transcript(code: str) -> str | None:
    """Return the transcript of a GRID video from its name, or None if the name does not match."""
    if not _GRID_CODE.fullmatch(code):
        return None
    return " ".join(words.get(key, key) for words, key in zip(_GRID_WORDS, code, strict=True))


def grid_video(path: Path) -> tuple[str, str] | None:
    """Return speaker and transcript of s1/bbaf2n.mpg, or None if the path does not match."""
    transcript = grid_transcript(path.stem.lower())
    speakers = [name for name in path.absolute().parts[:-1] if _GRID_SPEAKER.fullmatch(name)]
    return (speakers[-1], transcript) if transcript and speakers else None
