"""List training videos from a CSV list, a plain folder, or a data set as distributed.

A data set is recognised by its file names alone. Readers report irregularities, such as a video
whose audio is missing, together with the sources.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from talkhead.data.dataset_names import (
    HDTF_RAW,
    SOUND_SUFFIXES,
    MeadTake,
    grid_video,
    hdtf_clip,
    mead_sound,
    mead_video,
    official_test,
    read_hdtf_lists,
)
from talkhead.emotions import EMOTIONS
from talkhead.errors import TalkheadError
from talkhead.media.files import VIDEO_SUFFIXES, check_input
from talkhead.media.video import probe_video

Layout = Literal["auto", "csv", "mead", "hdtf", "grid", "folder"]

MAX_NAME_BYTES = 200
"""Limit for a video's name: output files add a number and a suffix, and may have 255 bytes."""


@dataclass(frozen=True)
class Source:
    """One video to prepare."""

    name: str
    path: Path
    split: str
    person: str
    sound: str
    licence: str
    transcript: str = ""
    audio: Path | None = None
    """Separate audio file; None if the audio is in the video."""
    emotion: str = ""
    level: int = 0
    """Intensity of the emotion, from 1; 0 if unknown."""
    view: str = ""


@dataclass(frozen=True)
class Listing:
    """Videos to prepare, and notes about irregularities."""

    sources: tuple[Source, ...]
    layout: Layout
    """The layout used; never `auto`."""
    notes: tuple[str, ...] = ()
    """One line each, with a count and the first few names."""


def list_sources(videos: Path, layout: Layout = "auto") -> Listing:
    """List the videos of a folder, a data set, or a CSV list.

    `csv`: the list has the column `file` (paths relative to the list) and the optional columns
    `id`, `split`, `person`, `sound`, `licence`, `transcript`, `audio` (a separate audio file),
    `emotion` (one of `EMOTIONS`), `level` and `view`.

    `mead`: `M030/video/front/happy/level_1/001.mp4` with `M030/audio/happy/level_1/001.m4a`. Videos
    without audio and audio files without a video are skipped. Videos of the official test set (see
    `official_test`) get the split `test`, the others `train`.

    `hdtf`: `Radio11_0.mp4` or `RD_Radio11_000.mp4`; the person is the speaker's name. A number at
    the end of a name counts the speaker's videos, except in `Radio11`, where it is part of the
    name. A clip without an audio track is kept for its frames. `RD_annotion_time.txt` and the
    other lists may be in the folder or next to it.

    `grid`: `s1/bbaf2n.mpg`, or nested deeper in `s1`; the name is the transcript.

    `folder`: any videos, each treated as a different person. All get the split `train`, as in HDTF
    and GRID.

    Args:
        videos: a folder or a CSV list.
        layout: `auto` reads a file as a list, and a folder as the data set whose naming scheme at
            least half of its videos follow.

    Raises:
        TalkheadError: the path does not exist, holds nothing that fits the layout, or is a list
            without the required column; or two videos get the same name.
    """
    if not videos.exists():
        raise TalkheadError(f"{videos} does not exist: give a folder of videos or a CSV list")
    if videos.is_dir() == (layout == "csv") and layout != "auto":
        kind = "a folder" if videos.is_dir() else "not a folder"
        raise TalkheadError(f"{videos} is {kind}, so the layout {layout} does not fit")
    listing = _in_folder(videos, layout) if videos.is_dir() else _in_list(videos)
    taken: dict[str, Path] = {}
    for source in listing.sources:
        if len(source.name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise TalkheadError(
                f"{source.path} would get a name longer than {MAX_NAME_BYTES} bytes: rename it,"
                " or give it an id in a CSV list"
            )
        other = taken.setdefault(source.name, source.path)
        if other is not source.path:
            raise TalkheadError(
                f"{other} and {source.path} would both be named {source.name}: rename one, or give"
                " them different ids in a CSV list"
            )
    return listing


def in_short(names: Sequence[str], num_shown: int = 3) -> str:
    """Return the number of names, with the first few in parentheses."""
    rest = ", ..." if len(names) > num_shown else ""
    return f"{len(names)} ({', '.join(names[:num_shown])}{rest})"


def _notes(*found: tuple[str, Sequence[str]]) -> list[str]:
    return [f"{what}: {in_short(names)}" for what, names in found if names]


def _in_list(path: Path) -> Listing:
    check_input(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TalkheadError(f"{path} is not a CSV list of videos: {error}") from error
    if not rows or "file" not in rows[0]:
        raise TalkheadError(f"{path} needs a column named file and one row per video")
    sources = []
    for number, row in enumerate(rows, 1):
        if not row["file"]:
            raise TalkheadError(f"{path}: video {number} has no file name")
        level = row.get("level") or "0"
        if not re.fullmatch(r"[0-9]{1,9}", level):
            raise TalkheadError(
                f"{path}: video {number} has level {level[:20]!r}, which is not a number"
            )
        name = _name_of(Path(row["file"]), row.get("id"))
        sources.append(
            Source(
                name,
                path.parent / row["file"],
                row.get("split") or "train",
                row.get("person") or name,
                row.get("sound") or "unknown",
                row.get("licence") or "unknown",
                row.get("transcript") or "",
                audio=path.parent / row["audio"] if row.get("audio") else None,
                emotion=(row.get("emotion") or "").lower(),
                level=int(level),
                view=row.get("view") or "",
            )
        )
    strange = sorted({source.emotion for source in sources} - {"", *EMOTIONS})
    notes = _notes((f"emotions other than {', '.join(EMOTIONS)}", strange))
    return Listing(tuple(sources), "csv", tuple(notes))


def _in_folder(folder: Path, layout: Layout) -> Listing:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise TalkheadError(f"{folder} contains no videos ({', '.join(sorted(VIDEO_SUFFIXES))})")
    chosen, notes = _recognise(folder, paths) if layout == "auto" else (layout, [])
    if chosen == "folder":
        names = [_name_of(path.relative_to(folder)) for path in paths]
        plain = [
            Source(name, path, "train", name, "unknown", "unknown")
            for name, path in zip(names, paths, strict=True)
        ]
        return Listing(tuple(plain), chosen, tuple(notes))
    tree = _TREES[chosen]
    sources, odd = tree.read(folder, [path for path in paths if tree.is_one(path)])
    strays = [str(path.relative_to(folder)) for path in paths if not tree.is_one(path)]
    odd += _notes((f"skipped because they are not named like {tree.title} videos", strays))
    if not sources:
        raise TalkheadError(
            f"{folder} contains no {tree.title} videos to prepare, expected {tree.example}"
            f" ({'; '.join(odd)}): choose another layout"
        )
    return Listing(tuple(sources), chosen, (*notes, *odd))


def _recognise(folder: Path, paths: Sequence[Path]) -> tuple[Layout, list[str]]:
    """Return the layout that a folder's file names suggest, with notes about the choice."""
    notes = []
    num_videos = sum(HDTF_RAW not in path.parts for path in paths)
    for layout, tree in _TREES.items():
        named = [path for path in paths if tree.is_one(path)]
        if not named or not tree.is_likely(folder, named):
            continue
        if 2 * len(named) >= num_videos:
            return layout, [
                f"read as {tree.title} because of the file names: if that is wrong, choose the"
                " layout folder"
            ]
        names = [str(path.relative_to(folder)) for path in named]
        notes += _notes(
            (f"read as a plain folder, although these are named like {tree.title} videos", names)
        )
    return "folder", notes


def _name_of(path: Path, identifier: str | None = None) -> str:
    """Return a name that is safe in file names; it has no dots, as a dot starts a clip's number."""
    return re.sub(r"[^\w-]+", "_", identifier or "-".join(path.with_suffix("").parts))


def _read_mead(folder: Path, paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    sounds = _mead_sounds(folder)
    found = [(path, *video) for path in paths if (video := mead_video(path))]
    whole = [(path, take, view) for path, take, view in found if take in sounds]
    numbers = defaultdict[tuple[str, MeadTake], list[int]](list)
    for _, take, view in whole:
        numbers[view, take._replace(number=0)].append(take.number)
    tests = {
        (view, take._replace(number=number))
        for (view, take), taken in numbers.items()
        for number in official_test(take.emotion, taken)
    }
    sources = [
        Source(
            take.name(view),
            path,
            "test" if (view, take) in tests else "train",
            take.person,
            "unknown",
            "research only",
            audio=sounds[take],
            emotion=take.emotion,
            level=take.level,
            view=view,
        )
        for path, take, view in whole
    ]
    silent = [take.name(view) for _, take, view in found if take not in sounds]
    unseen = sorted(sounds.keys() - {take for _, take, _ in found})
    views = {(take.person, view) for _, take, view in found}
    lacking = sorted(set(product(*map(set, zip(*views, strict=True)))) - views) if views else []
    return sources, _notes(
        ("videos skipped because their audio is missing", silent),
        ("audio files skipped because their video is missing", [take.name() for take in unseen]),
        ("views missing for some people", [" ".join(pair) for pair in lacking]),
    )


def _mead_sounds(folder: Path) -> dict[MeadTake, Path]:
    """Find the audio files in a tree, and next to it if it is inside one person's `video`."""
    above = [folder.absolute(), *folder.absolute().parents]
    beside = [place.with_name("audio") for place in above if place.name == "video"][:1]
    paths = [p for place in (folder, *beside) if place.is_dir() for p in place.rglob("*")]
    takes = [(take, path) for path in paths if (take := mead_sound(path))]
    # Where a take has audio in two formats, prefer the one that MEAD distributes.
    takes.sort(key=lambda pair: (SOUND_SUFFIXES.index(pair[1].suffix.lower()), pair), reverse=True)
    return dict(takes)


def _is_hdtf(folder: Path, named: Sequence[Path]) -> bool:
    """Return whether anything beyond the pattern of the names suggests HDTF."""
    clips = [clip for path in named if (clip := hdtf_clip(path))]
    if any(clip.is_unmistakable for clip in clips):
        return True
    listed = read_hdtf_lists(folder)
    return any(clip.video in listed for clip in clips)


def _read_hdtf(folder: Path, paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    clips = [(path, clip) for path in paths if (clip := hdtf_clip(path))]
    # The downloader's clips have no audio and are numbered differently.
    authors = {clip.video for _, clip in clips if not clip.is_downloaders}
    doubles = {path for path, clip in clips if clip.is_downloaders and clip.video in authors}
    kept = [(path, clip) for path, clip in clips if path not in doubles]
    silent = {path for path, _ in kept if not _may_sound(path)}
    sources = [
        Source(
            path.stem,
            path,
            "train",
            clip.speaker,
            "none" if path in silent else "unknown",
            "unknown",
        )
        for path, clip in kept
    ]
    counts = Counter(clip.video for _, clip in kept)
    listed = sorted(read_hdtf_lists(folder).items())
    short = [
        f"{video} {counts[video]} of {count}"
        for video, count in listed
        if count is not None and 0 < counts[video] < count
    ]
    return sources, _notes(
        ("clips without an audio track, kept for their frames", _stems(silent)),
        ("clips skipped because the authors' clips of the same video exist", _stems(doubles)),
        ("videos with fewer clips than listed", short),
        ("listed videos without clips", [video for video, _ in listed if not counts[video]]),
    )


def _stems(paths: Iterable[Path]) -> list[str]:
    return sorted(path.stem for path in paths)


def _may_sound(path: Path) -> bool:
    """Return whether a video has an audio track; True if unreadable, as `prepare` reports that."""
    try:
        return probe_video(path).has_audio
    except TalkheadError:
        return True


def _read_grid(folder: Path, paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    del folder  # the paths are enough
    return [
        Source(f"{found[0]}-{path.stem}", path, "train", found[0], "unknown", "CC BY 4.0", found[1])
        for path in paths
        if (found := grid_video(path))
    ], []


@dataclass(frozen=True)
class _Tree:
    """How to recognise and read a data set's folder."""

    title: str
    example: str
    is_one: Callable[[Path], object]
    """Truthy for a path that follows the data set's naming scheme."""
    read: Callable[[Path, Sequence[Path]], tuple[list[Source], list[str]]]
    """Takes a folder and its matching videos; returns sources and notes."""
    is_likely: Callable[[Path, Sequence[Path]], bool] = lambda folder, named: True
    """Takes a folder and its matching videos; False if the names probably match by chance."""


_TREES: dict[Layout, _Tree] = {
    "mead": _Tree(
        "MEAD",
        "M030/video/front/happy/level_1/001.mp4 and M030/audio/happy/level_1/001.m4a",
        mead_video,
        _read_mead,
    ),
    "hdtf": _Tree("HDTF", "Radio11_0.mp4 or RD_Radio11_000.mp4", hdtf_clip, _read_hdtf, _is_hdtf),
    "grid": _Tree("GRID", "s1/bbaf2n.mpg", grid_video, _read_grid),
}
