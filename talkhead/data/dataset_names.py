"""What the names of MEAD, HDTF and GRID say: who speaks, how, and what.

Everything here is read from paths, and from the lists that HDTF comes with; no video is opened.
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
"""How many videos of a level, its last, are in MEAD's official test set."""
SOUND_SUFFIXES = (".m4a", ".wav", ".aac", ".mp3", ".flac")
"""Of MEAD's sounds; as distributed, the first."""

HDTF_RAW = "_videos_raw"
"""Folder where the common downloader leaves the videos that it cut the clips from."""
_HDTF_CLIP = re.compile(r"(?P<part>(?:RD|WDA|WRA)_)?(?P<video>[A-Za-z][A-Za-z-]*\d*)_\d+")
_HDTF_RADIO = re.compile(r"Radio\d+")
_HDTF_ALIASES = {"WhipJimClyburn": "JamesClyburn"}
"""Two names of one man: the lists give the same video for both."""

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
    """One utterance of MEAD: what its videos, one of every view, and its sound have in common."""

    person: str
    emotion: str
    level: int
    number: int

    def name(self, *view: str) -> str:
        """Write the take, or the video of one view, as a name."""
        numbers = f"level_{self.level}", f"{self.number:03d}"
        return "-".join((self.person, *view, self.emotion, *numbers))


def mead_video(path: Path) -> tuple[MeadTake, str] | None:
    """Return the take and the view of M030/video/front/happy/level_1/001.mp4.

    The person's folder, `video`, the view and the emotion may have others between them.

    Returns:
        None if the path is no such one.
    """
    found = _mead_take(path, "video")
    views = [name for name in found[1] if name in MEAD_VIEWS] if found else []
    return (found[0], views[0]) if found and views else None


def mead_sound(path: Path) -> MeadTake | None:
    """Return the take of M030/audio/happy/level_1/001.m4a, or None if the path is no such one."""
    found = _mead_take(path, "audio") if path.suffix.lower() in SOUND_SUFFIXES else None
    return found[0] if found else None


def _mead_take(path: Path, kind: str) -> tuple[MeadTake, tuple[str, ...]] | None:
    """Return the take of a path, and the folders between the one named `kind` and the emotion's."""
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
    """Return which of MEAD's videos of one person, view, level and emotion are to be scored on.

    The last 10 where the emotion is neutral, else the last 6.
    """
    count = NUM_TEST_NEUTRAL if emotion == NEUTRAL else NUM_TEST_EMOTIONAL
    return frozenset(sorted(set(numbers))[-count:])


class HdtfClip(NamedTuple):
    """What the name of an HDTF clip says."""

    video: str
    """As the lists name it."""
    speaker: str
    is_downloaders: bool
    """Named as the common downloader does, RD_Radio11_000, not as the authors do, Radio11_0."""

    @property
    def is_unmistakable(self) -> bool:
        """Whether hardly anyone else names a video like this; take_1 is a clip's name, too."""
        return self.is_downloaders or _HDTF_RADIO.fullmatch(self.video) is not None


def hdtf_clip(path: Path) -> HdtfClip | None:
    """Read the name of a clip, Radio11_0.mp4 or RD_Radio11_000.mp4.

    The number at a speaker's end counts the videos, as in BenCardin1; but Radio11 is all the name
    that its speaker has.

    Returns:
        None if the path is no such one.
    """
    name = _HDTF_CLIP.fullmatch(path.stem)
    if name is None:
        return None
    video = name["video"]
    speaker = video if _HDTF_RADIO.fullmatch(video) else video.rstrip("0123456789")
    return HdtfClip(video, _HDTF_ALIASES.get(speaker, speaker), name["part"] is not None)


def read_hdtf_lists(folder: Path) -> dict[str, int | None]:
    """Read HDTF's lists, in a folder or beside it: how many clips there are of every video.

    Returns:
        By video; None where a list names the video, but no list its clips.

    Raises:
        TalkheadError: a list is not text.
    """
    named: dict[str, int | None] = {}
    for kind in ("video_url", "annotion_time"):  # the second one knows more
        patterns = [f"{part}_{kind}.txt" for part in ("RD", "WDA", "WRA")]
        beside = [folder.absolute().parent / pattern for pattern in patterns]
        inside = [path for pattern in patterns for path in folder.rglob(pattern)]
        for path in sorted({path for path in (*inside, *beside) if path.is_file()}):
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise TalkheadError(f"{path} is no list of HDTF: {error}") from error
            for video, *fields in filter(None, map(str.split, lines)):
                name = video.removesuffix(".mp4")
                named[name] = len(fields) if kind == "annotion_time" else None
    return named


def grid_transcript(code: str) -> str | None:
    """Return what is said in the GRID video of a name, or None if there is none of that name."""
    if not _GRID_CODE.fullmatch(code):
        return None
    return " ".join(words.get(key, key) for words, key in zip(_GRID_WORDS, code, strict=True))


def grid_video(path: Path) -> tuple[str, str] | None:
    """Return speaker and transcript of s1/bbaf2n.mpg, or None if the path is no such one."""
    transcript = grid_transcript(path.stem.lower())
    speakers = [name for name in path.absolute().parts[:-1] if _GRID_SPEAKER.fullmatch(name)]
    return (speakers[-1], transcript) if transcript and speakers else None
