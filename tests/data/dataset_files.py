"""Files named like those of the data sets; most of them are empty."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter

MEAD_VIDEO = "{person}/video/{view}/{emotion}/level_{level}/{number:03d}.mp4"
MEAD_SOUND = "{person}/audio/{emotion}/level_{level}/{number:03d}.m4a"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_mead(
    folder: Path, person: str, emotion: str, numbers: Sequence[int], *, views: Sequence[str]
) -> None:
    """Write the videos and audio files of one person and emotion, level 1."""
    for number in numbers:
        facts = {"person": person, "emotion": emotion, "level": 1, "number": number}
        touch(folder, MEAD_SOUND.format(**facts))
        touch(folder, *(MEAD_VIDEO.format(view=view, **facts) for view in views))


def write_video(path: Path, *, has_sound: bool) -> None:
    """Write a video of two grey frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = path.with_suffix(".wav")
    write_waveform(sound, np.full(1280, 0.1, np.float32))
    with VideoWriter(
        path, size=(32, 32), fps=Fraction(25), sound=sound if has_sound else None
    ) as writer:
        writer.write(np.full((2, 32, 32, 3), 120, np.uint8))
    sound.unlink()
