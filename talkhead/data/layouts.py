"""Where videos lie: a CSV list, a plain folder, or a data set as it is distributed.

A data set is recognised by its names alone. What a reader finds odd, a video whose sound is missing
for example, is told with the sources, never passed over.
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
"""Of a video's name, to which the names of files add a number and a suffix: they have 255."""


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
    """The sound, where it is a file of its own; else it is the video's."""
    emotion: str = ""
    level: int = 0
    """How strong the emotion is, from 1 on; 0 where that is not known."""
    view: str = ""


@dataclass(frozen=True)
class Listing:
    """Videos to prepare, and what is odd about the place where they lie."""

    sources: tuple[Source, ...]
    layout: Layout
    """What the place was read as; never `auto`."""
    notes: tuple[str, ...] = ()
    """One line each, with a count and the first few names."""


def list_sources(videos: Path, layout: Layout = "auto") -> Listing:
    """List the videos of a folder, of a data set, or of a CSV list.

    `csv`: the list has the column `file` (relative paths start at the list) and, where it is known,
    `id`, `split`, `person`, `sound`, `licence`, `transcript`, `audio` (the file of the sound, if
    that is not in the video), `emotion` (one of `EMOTIONS`), `level` and `view`.

    `mead`: `M030/video/front/happy/level_1/001.mp4` with `M030/audio/happy/level_1/001.m4a`. Videos
    without their sound are left out, and so are sounds without a video. What is in the official
    test set (see `official_test`) has the split `test`, the rest `train`.

    `hdtf`: `Radio11_0.mp4` or `RD_Radio11_000.mp4`; a person is a speaker's name. The number at a
    name's end counts the speaker's videos, but in `Radio11` it is all the name there is. A clip
    without a sound track is kept for its pictures. `RD_annotion_time.txt` and the other lists may
    lie in the folder or beside it.

    `grid`: `s1/bbaf2n.mpg`, or nested deeper in `s1`; the name is the transcript.

    `folder`: any videos, each a person of its own. All are of the split `train`, as in HDTF and
    GRID.

    Args:
        videos: a folder or a CSV list.
        layout: `auto` takes a file for a list, and a folder for the data set that at least half of
            its videos are named like.

    Raises:
        TalkheadError: nothing is there, or nothing that fits the layout; the list lacks its column;
            or two videos have one name.
    """
    if not videos.exists():
        raise TalkheadError(f"{videos} does not exist: give a folder of videos or a CSV list")
    if videos.is_dir() == (layout == "csv") and layout != "auto":
        kind = "a folder" if videos.is_dir() else "no folder"
        raise TalkheadError(f"{videos} is {kind}: the layout {layout} does not fit")
    listing = _in_folder(videos, layout) if videos.is_dir() else _in_list(videos)
    taken: dict[str, Path] = {}
    for source in listing.sources:
        if len(source.name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise TalkheadError(
                f"{source.path} would have a name of more than {MAX_NAME_BYTES} bytes: rename it,"
                " or give it an id in a CSV list"
            )
        other = taken.setdefault(source.name, source.path)
        if other is not source.path:
            raise TalkheadError(
                f"{other} and {source.path} are both named {source.name}: rename one, or give them"
                " different ids in a CSV list"
            )
    return listing


def in_short(names: Sequence[str], num_shown: int = 3) -> str:
    """Write how many names there are, and the first few of them."""
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
        raise TalkheadError(f"{path} needs a column named file, and a row for every video")
    sources = []
    for number, row in enumerate(rows, 1):
        if not row["file"]:
            raise TalkheadError(f"{path}: video {number} of the list has no file")
        level = row.get("level") or "0"
        if not re.fullmatch(r"[0-9]{1,9}", level):
            raise TalkheadError(
                f"{path}: video {number} has the level {level[:20]!r}, not a number"
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
    notes = _notes((f"emotions that are none of {', '.join(EMOTIONS)}", strange))
    return Listing(tuple(sources), "csv", tuple(notes))


def _in_folder(folder: Path, layout: Layout) -> Listing:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise TalkheadError(f"{folder} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))})")
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
    odd += _notes((f"not named as {tree.title} names its videos, left out", strays))
    if not sources:
        raise TalkheadError(
            f"{folder} holds nothing of {tree.title}, as {tree.example}, to prepare"
            f" ({'; '.join(odd)}): choose another layout"
        )
    return Listing(tuple(sources), chosen, (*notes, *odd))


def _recognise(folder: Path, paths: Sequence[Path]) -> tuple[Layout, list[str]]:
    """Return the layout that a folder's names speak for, and what there is to say about that."""
    notes = []
    num_videos = sum(HDTF_RAW not in path.parts for path in paths)
    for layout, tree in _TREES.items():
        named = [path for path in paths if tree.is_one(path)]
        if not named or not tree.is_likely(folder, named):
            continue
        if 2 * len(named) >= num_videos:
            return layout, [
                f"read as {tree.title}, as its names are: if it is not, choose the layout folder"
            ]
        names = [str(path.relative_to(folder)) for path in named]
        notes += _notes(
            (f"read as a folder, although named as {tree.title} names its videos", names)
        )
    return "folder", notes


def _name_of(path: Path, identifier: str | None = None) -> str:
    """Return a name that serves as a file name and, having no dots, takes a clip's number."""
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
        ("videos without their sound, left out", silent),
        ("sounds without a video, left out", [take.name() for take in unseen]),
        ("views that others have, but not these", [" ".join(pair) for pair in lacking]),
    )


def _mead_sounds(folder: Path) -> dict[MeadTake, Path]:
    """Find the sounds in a tree, and beside it where it is one person's `video` or a part of it."""
    above = [folder.absolute(), *folder.absolute().parents]
    beside = [place.with_name("audio") for place in above if place.name == "video"][:1]
    paths = [p for place in (folder, *beside) if place.is_dir() for p in place.rglob("*")]
    takes = [(take, path) for path in paths if (take := mead_sound(path))]
    # Of two kinds of one sound, the one that is distributed.
    takes.sort(key=lambda pair: (SOUND_SUFFIXES.index(pair[1].suffix.lower()), pair), reverse=True)
    return dict(takes)


def _is_hdtf(folder: Path, named: Sequence[Path]) -> bool:
    """Whether more than the shape of the names speaks for HDTF."""
    clips = [clip for path in named if (clip := hdtf_clip(path))]
    if any(clip.is_unmistakable for clip in clips):
        return True
    listed = read_hdtf_lists(folder)
    return any(clip.video in listed for clip in clips)


def _read_hdtf(folder: Path, paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    clips = [(path, clip) for path in paths if (clip := hdtf_clip(path))]
    # The downloader's clips have no sound, and it counts them in another way.
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
        ("clips without a sound track, kept for their pictures", _stems(silent)),
        ("clips of videos that are there under the authors' names, left out", _stems(doubles)),
        ("videos with fewer clips than the lists name", short),
        ("videos of the lists without a clip", [video for video, _ in listed if not counts[video]]),
    )


def _stems(paths: Iterable[Path]) -> list[str]:
    return sorted(path.stem for path in paths)


def _may_sound(path: Path) -> bool:
    """Whether a video has a sound track; what cannot be read fails later, and says why."""
    try:
        return probe_video(path).has_audio
    except TalkheadError:
        return True


def _read_grid(folder: Path, paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    del folder  # the names say it all
    return [
        Source(f"{found[0]}-{path.stem}", path, "train", found[0], "unknown", "CC BY 4.0", found[1])
        for path in paths
        if (found := grid_video(path))
    ], []


@dataclass(frozen=True)
class _Tree:
    """A data set: how its folder is recognised and read."""

    title: str
    example: str
    is_one: Callable[[Path], object]
    """True, or what is truthy, of a video that is named as the data set names it."""
    read: Callable[[Path, Sequence[Path]], tuple[list[Source], list[str]]]
    """Its sources and what is odd, of a folder and the videos in it that are named so."""
    is_likely: Callable[[Path, Sequence[Path]], bool] = lambda folder, named: True
    """Whether such names, in such a folder, are the data set's and not somebody else's."""


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
