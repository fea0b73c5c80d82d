"""The source of head motion that a user names: natural, still, a track, or a video."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.errors import TalkheadError
from talkhead.media.files import VIDEO_SUFFIXES, check_input

if TYPE_CHECKING:
    from talkhead.tracking.landmark_track import LandmarkTrack

TRACK_SUFFIXES = {".npz", ".json"}

Progress = Callable[[Iterable[Any], "int | None"], Iterable[Any]]
"""Passes frames through and may report progress; its second argument is the expected count."""


def is_video(face: Path) -> bool:
    """Return whether a face file is a video, judging by its content."""
    from talkhead.media import kinds

    return kinds.is_video(face)


def check_pose(text: str) -> None:
    """Check a pose option before any slow work.

    Raises:
        TalkheadError: the text is neither a known name nor an existing track or video.
    """
    if text in ("natural", "still"):
        return
    path = Path(text)
    is_named = path.suffix.lower() in {*TRACK_SUFFIXES, *VIDEO_SUFFIXES}
    if is_named or os.path.lexists(text):
        check_input(path)
    if path.suffix.lower() not in TRACK_SUFFIXES and not is_video(path):
        raise TalkheadError(
            f"pose must be natural, still, a track (.npz, .json) or a video, not {text!r}"
        )


def read_pose(text: str, progress: Progress) -> str | LandmarkTrack:
    """Return the source of head motion: a name, or the track read from a file.

    Args:
        text: natural, still, or the path of a track or a video.
        progress: passes the video's frames through.

    Raises:
        TalkheadError: `check_pose` fails, or the file cannot be read.
        NoFaceError: the file is a video without a face.
    """
    check_pose(text)
    path = Path(text)
    if path.suffix.lower() in TRACK_SUFFIXES:
        from talkhead.tracking.landmark_track import LandmarkTrack

        return LandmarkTrack.read(path)
    if text in ("natural", "still"):
        return text
    from talkhead.tracking.face_tracker import track_video

    return track_video(path, progress=progress)[0]
