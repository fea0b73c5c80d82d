"""Videos: frames read one at a time, and written as they come."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.files import check_input, check_output, temporary_sibling
from talkhead.media.rates import DEFAULT_FPS, MAX_FPS, MIN_FPS

__all__ = ["VideoInfo", "check_output", "probe_video", "read_frames"]

Frames = npt.NDArray[np.uint8]

MAX_SIDE_PX = 16_384  # the largest that H.264 encoders take
# A thousandth of a frame, so that 2/3 s at 30 fps is 20 frames although a float says 20.0000001.
_ROUNDING = 0.001
_SUFFIXES = (".mp4", ".m4v", ".mov")


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself.

    Width and height are those of the picture as shown: rotated, with square pixels. The rate is
    that of the container, or 25 where it states nothing usable; `duration_s` is the longest
    stream's, and 0 where the container states none.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    duration_s: float
    has_audio: bool


def probe_video(path: Path) -> VideoInfo:
    """Read a video's size, rate and length; its first picture is decoded on the way.

    Raises:
        TalkheadError: the file is missing, empty, a directory, no video, or cannot be decoded.
    """
    path = Path(path)
    check_input(path)
    _, output, messages = ffmpeg.run_ffmpeg(ffmpeg.probe_args(path))
    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", output)
    if header is None:
        if re.search(r"^\s*Stream #0:\d+.*?: (Audio|Subtitle|Data): ", messages, re.MULTILINE):
            raise TalkheadError(f"{path} has no picture stream; name a video")
        raise TalkheadError(
            f"{path} cannot be decoded as a video ({ffmpeg.first_error(messages)});"
            " convert it to mp4, or copy it again"
        )
    width, height, numerator, denominator = (int(group) for group in header.groups())
    fps = Fraction(numerator, denominator) if denominator else Fraction(0)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=fps if MIN_FPS <= fps <= MAX_FPS else DEFAULT_FPS,
        duration_s=ffmpeg.declared_duration_s(messages) or 0.0,
        has_audio=ffmpeg.audio_codec(messages) is not None,
    )


def read_frames(
    path: Path,
    *,
    fps: Fraction | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[Frames]:
    """Read a video one frame at a time, at a constant rate on its time stamps.

    Frame k is the picture nearest to start_s + k / fps; time 0 is where the first of picture and
    sound starts. Pictures are repeated or left out where the video's own rate differs.

    Args:
        path: the video.
        fps: frames a second; the video's own rate if None.
        start_s: the time of the first frame.
        duration_s: how much to read, rounded up to whole frames; to the end if None.
        size: (width, height) to scale to; the video's own if None.

    Yields:
        uint8, shape = (H, W, 3), RGB; each a new array.

    Raises:
        TalkheadError: as `probe_video`; nothing at `start_s`; or decoding broke off.
    """
    info = probe_video(path)
    rate = fps or info.fps
    count = None if duration_s is None else math.ceil(duration_s * rate - _ROUNDING)
    width, height = size or (info.width, info.height)
    args = ffmpeg.read_frames_args(
        info.path, fps=rate, start_s=start_s, num_frames=count, size=(width, height)
    )
    with ffmpeg.running_ffmpeg(args) as process:
        is_empty = True
        while (frame := _read_frame(process.stdout, height, width)) is not None:
            is_empty = False
            yield frame
        if process.wait() != 0:
            reason = ffmpeg.first_error(process.stderr_text())
            raise TalkheadError(f"{path} breaks off while it is read ({reason}); copy it again")
        if is_empty and count != 0:
            raise TalkheadError(f"{path} has no picture at {start_s:g} s; choose an earlier start")


def _read_frame(stream: IO[bytes], height: int, width: int) -> Frames | None:
    frame = np.empty((height, width, 3), np.uint8)
    rest = memoryview(frame).cast("B")
    while rest:
        num_read: int = stream.readinto(rest)  # type: ignore[attr-defined]
        if not num_read:
            return None
        rest = rest[num_read:]
    return frame
