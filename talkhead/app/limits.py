"""What visitors of the page may send, and how much runs at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkhead.errors import TalkheadError
from talkhead.jobs.pose_source import is_video
from talkhead.media.audio import open_source
from talkhead.media.files import check_input
from talkhead.media.video import probe_video

CORES_PER_RENDER = 4
"""Visitors wait less if renders share the cores; fewer than this, and each takes too long."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server."""

    max_upload_mb: int = 200
    """Of one file, in millions of bytes."""
    max_seconds: float = 600.0
    """Longest sound, and longest video to dub."""
    max_sounds: int = 20
    """Of one batch."""
    max_waiting: int = 20
    """Requests that wait in line; further ones are refused."""
    keep_s: int = 3600
    """Age at which uploads and results are deleted."""
    renders_at_once: int = 1
    live_s: float = 300.0
    """Longest live conversation: nothing else is rendered meanwhile."""


def renders_at_once(num_cores: int) -> int:
    """Return how many videos to render at a time on so many cores."""
    return max(num_cores // CORES_PER_RENDER, 1)


def check_face(face: Path, limits: Limits) -> None:
    """Refuse a video that is too long to dub.

    Raises:
        TalkheadError: it is, or the file cannot be read.
    """
    check_input(face)
    if is_video(face) and probe_video(face).duration_s > limits.max_seconds:
        raise _too_long(face, limits)


def check_picture(face: Path) -> None:
    """Refuse a video where a picture is needed; raises TalkheadError."""
    check_input(face)
    if is_video(face):
        raise TalkheadError(f"{face} is a video: a track is made from a picture")


def check_sound(sound: Path, limits: Limits) -> None:
    """Refuse a sound that is too long.

    The sound is decoded up to the limit, because what its header says need not be true.

    Raises:
        TalkheadError: it is, or the file cannot be read.
    """
    check_input(sound)
    with open_source(sound) as source:
        left = math.ceil(limits.max_seconds * source.rate_hz)
        for block in source.blocks():
            left -= len(block)
            if left < 0:
                raise _too_long(sound, limits)


def check_count(sounds: Sequence[Path], limits: Limits) -> None:
    """Refuse a batch without sounds, or with too many; raises TalkheadError."""
    if not sounds:
        raise TalkheadError("the sounds are missing: add recordings")
    if len(sounds) > limits.max_sounds:
        raise TalkheadError(
            f"{len(sounds)} sounds are more than {limits.max_sounds}, the limit of this server"
        )


def _too_long(path: Path, limits: Limits) -> TalkheadError:
    return TalkheadError(
        f"{path} is longer than {limits.max_seconds:g} s, the limit of this server: shorten it"
    )
