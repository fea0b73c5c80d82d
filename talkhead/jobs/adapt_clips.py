"""From videos of one person to clips to learn from and to score on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from talkhead.atomic import replacing
from talkhead.data.av_sync import measure_agreement, unmeasured
from talkhead.data.clips import Clip, ClipInfo, read_clip, read_manifest
from talkhead.data.layouts import Source
from talkhead.data.one_person import PersonVideo, read_videos
from talkhead.data.prepare import prepare
from talkhead.errors import NoFaceError, TalkheadError
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.pipelines.loading import load_landmark_generator
from talkhead.tracking.appearance import SAME_OF_SEVERAL, Looks

Report = Callable[[str, float], None]
"""Called with what is being done, and how much of it is done, 0 to 1."""
Tell = Callable[[str], None]
"""Called with a note for the user, one line."""

SIDE_PX = 512
CLIPS, VIDEOS = "clips-of-person", "videos.json"
NUM_LOOKS = 3
"""Frames of a clip whose looks are compared."""


@dataclass(frozen=True)
class Footage:
    """Videos of one person, divided in time."""

    videos: tuple[PersonVideo, ...]

    @property
    def train_s(self) -> float:
        """Seconds to learn from."""
        return self._seconds("train")

    @property
    def held_out_s(self) -> float:
        """Seconds to score on."""
        return self._seconds("held_out")

    def _seconds(self, name: str) -> float:
        parts = [part for video in self.videos for part in getattr(video, name)]
        return float(sum(len(part) / Fraction(part.info.fps) for part in parts))


def prepare_footage(
    videos: Sequence[Path],
    work: Path,
    weights: Path,
    report: Report,
    tell: Tell,
) -> Footage:
    """Prepare videos, or take the clips that an earlier run left in `work`.

    Clips that seem to show somebody else than the longest one of their video are left out.

    Args:
        videos: of one person.
        work: folder of the clips.
        weights: their landmark generator measures whether the sound belongs to the lips.
        report: progress.
        tell: notes.

    Raises:
        TalkheadError: a video cannot be read, or the folder holds clips of other videos.
        NoFaceError: no video shows a steady, frontal face.
    """
    _claim(work, videos)
    sources = [
        Source(_name(number, video), video, "train", "person", "unknown", "")
        for number, video in enumerate(videos)
    ]
    workers = min(len(sources), torch.get_num_threads())
    outcomes = prepare(sources, work / CLIPS, side_px=SIDE_PX, num_workers=workers)
    report("videos", 0.0)
    with closing(outcomes):
        for number, outcome in enumerate(outcomes, 1):
            if outcome.broken:
                raise TalkheadError(outcome.dropped)
            if outcome.dropped:
                tell(f"{outcome.source.path}: {outcome.dropped}")
            report("videos", number / len(sources))
    rows = read_manifest(work / CLIPS)
    if not rows:
        raise NoFaceError("no video has a stretch with one steady, frontal face")
    if unmeasured(work / CLIPS):
        for _ in measure_agreement(
            work / CLIPS, load_landmark_generator(weights, torch.device("cpu"))
        ):
            pass
        rows = read_manifest(work / CLIPS)
    return Footage(tuple(read_videos(work / CLIPS, _of_one_person(work / CLIPS, rows, tell))))


def _name(number: int, video: Path) -> str:
    """Return a name for the clips of a video; a dot would end it."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', video.stem)[:60]}"


def _claim(work: Path, videos: Sequence[Path]) -> None:
    """Make the folder one for these videos, or find that it is."""
    asked = json.dumps([[str(v.resolve()), v.stat().st_size] for v in videos])
    record = work / VIDEOS
    work.mkdir(parents=True, exist_ok=True)
    if record.is_file():
        if record.read_text(encoding="utf-8") != asked:
            raise TalkheadError(f"{work} holds clips of other videos: choose another folder")
        return
    if any(work.iterdir()):
        raise TalkheadError(f"{work} is not empty: choose another folder for the clips")
    with replacing(record) as partial:
        partial.write_text(asked, encoding="utf-8")


def _of_one_person(folder: Path, rows: Sequence[ClipInfo], tell: Tell) -> list[ClipInfo]:
    """Return the clips that show the person of the longest one of the same video.

    Two videos are not compared: the same person may wear other clothes, in other light.
    """
    kept: list[ClipInfo] = []
    for video in dict.fromkeys(row.video for row in rows):
        own = [row for row in rows if row.video == video]
        longest = max(own, key=lambda row: row.num_frames)
        known = _looks(read_clip(folder, longest.clip))
        left_out_s = 0.0
        for row in own:
            found = _looks(read_clip(folder, row.clip)) if row is not longest else known
            if min(a.distance(b) for a in known for b in found) < SAME_OF_SEVERAL:
                kept.append(row)
            else:
                left_out_s += float(row.num_frames / Fraction(row.fps))
        if left_out_s:
            tell(f"{video}: {left_out_s:.1f} s look like somebody else, and are left out")
    return kept


def _looks(clip: Clip) -> list[Looks]:
    found = []
    for index in np.linspace(0, len(clip) - 1, NUM_LOOKS).astype(int):
        frame = clip.frame(int(index), None)
        scale = np.float32(len(frame) / CROP_SIDE_PX)
        found.append(Looks(frame, clip.landmarks[index] * scale))
    return found
