"""Videos of one person, divided in time: most of each to learn from, its end to score on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from talkhead.data.clips import Clip, ClipInfo, read_clip

HELD_OUT_SHARE = 0.1
"""Share of each video that is held out, at its end."""
MAX_HELD_OUT_S = 20.0
"""At most this much of a video is held out: more would only take time."""
GAP_S = 0.4
"""Frames this close before the end are left out: they look like its first ones."""


@dataclass(frozen=True)
class PersonClip:
    """A part of a prepared clip."""

    info: ClipInfo
    clip: Clip

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.clip)


@dataclass(frozen=True)
class PersonVideo:
    """The clips of one video, in order."""

    name: str
    train: tuple[PersonClip, ...]
    held_out: tuple[PersonClip, ...]


def read_videos(folder: Path, rows: Sequence[ClipInfo]) -> list[PersonVideo]:
    """Read prepared clips, and divide each video in time.

    Args:
        folder: written by `talkhead prepare`.
        rows: its clips, all of one frame rate.

    Raises:
        TalkheadError: a clip is damaged.
    """

    def video_of(row: ClipInfo) -> str:
        return row.clip.partition(".")[0]

    ordered = sorted(rows, key=lambda row: (video_of(row), row.start_s))
    return [_divide(folder, name, list(group)) for name, group in groupby(ordered, video_of)]


def _divide(folder: Path, name: str, rows: list[ClipInfo]) -> PersonVideo:
    fps = Fraction(rows[0].fps)
    total = sum(row.num_frames for row in rows)
    num_held_out = min(round(total * HELD_OUT_SHARE), round(MAX_HELD_OUT_S * fps))
    first_held_out = total - num_held_out
    last_train = first_held_out - round(GAP_S * fps)
    train: list[PersonClip] = []
    held_out: list[PersonClip] = []
    for row, clip, start in _in_order(folder, rows):
        for parts, low, high in (
            (train, 0, last_train - start),
            (held_out, first_held_out - start, len(clip)),
        ):
            low, high = max(low, 0), min(high, len(clip))
            if high > low:
                parts.append(PersonClip(row, clip.part(low, high, fps)))
    return PersonVideo(name, tuple(train), tuple(held_out))


def _in_order(folder: Path, rows: list[ClipInfo]) -> Iterator[tuple[ClipInfo, Clip, int]]:
    """Yield the clips of a video, each with the number of frames before it."""
    before = 0
    for row in rows:
        clip = read_clip(folder, row.clip)
        yield row, clip, before
        before += len(clip)
