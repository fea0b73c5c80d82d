"""Play a video for as long as the audio lasts: once, back and forth, or holding the last frame."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.video import read_frames

Frames = npt.NDArray[np.uint8]

LOOPS = ("pingpong", "hold", "error")
BACKWARD_BYTES = 64_000_000
"""Approximate size of the blocks in which frames are read backwards."""


def play(
    video: Path, fps: Fraction, num_frames: int, count: int, loop: str, size: tuple[int, int]
) -> Generator[tuple[int, Frames], None, None]:
    """Play a video.

    Args:
        video: the file.
        fps: frames per second.
        num_frames: length of the video at that rate.
        count: number of frames to play.
        loop: what to do at the end: `pingpong` plays backwards, then forwards, and so on; `hold`
            repeats the last frame; `error` raises an error.
        size: (width, height) of the frames.

    Yields:
        Index of the frame in the video, and the frame, uint8 (H, W, 3).

    Raises:
        TalkheadError: the video cannot be read, or is too short and `loop` is `error`.
    """
    if loop not in LOOPS:
        raise TalkheadError(f"loop must be one of {', '.join(LOOPS)}, not {loop!r}")
    if loop == "error" and count > num_frames:
        raise TalkheadError(
            f"{video} has {num_frames} frames, but the sound needs {count}: set loop to pingpong"
            " or hold, or shorten the sound"
        )
    played, backwards = 0, False
    while True:
        passing = _backwards if backwards else _forwards
        with closing(passing(video, fps, num_frames, size)) as frames:
            for index, frame in frames:
                # Do not play the frame at a turning point twice.
                if played and index == (num_frames - 1 if backwards else 0):
                    continue
                yield index, frame
                played += 1
                if played == count:
                    return
        if loop == "hold" or num_frames == 1:
            for _ in range(count - played):
                yield index, frame
            return
        backwards = not backwards


def _forwards(
    video: Path, fps: Fraction, num_frames: int, size: tuple[int, int]
) -> Generator[tuple[int, Frames], None, None]:
    with closing(read_frames(video, fps=fps, size=size)) as frames:
        yield from zip(range(num_frames), frames, strict=False)


def _backwards(
    video: Path, fps: Fraction, num_frames: int, size: tuple[int, int]
) -> Generator[tuple[int, Frames], None, None]:
    block = max(1, BACKWARD_BYTES // (3 * size[0] * size[1]))
    for end in range(num_frames, 0, -block):
        start = max(end - block, 0)
        seconds = float((end - start) / fps)
        part = read_frames(
            video, fps=fps, start_s=float(start / fps), duration_s=seconds, size=size
        )
        yield from reversed(list(zip(range(start, end), part, strict=False)))
