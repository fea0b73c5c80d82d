"""A short film with three sounds, two subtitles and two chapters, for tests of what is kept."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.media import ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.metadata import parse_sections
from talkhead.media.video import VideoWriter
from tests.drawn_face import draw_face

TONES_HZ = (300, 500, 700)
"""The sounds of the film. The second is its default; the third starts at 1 s."""
CUES = {
    "eng": "00:00:00,500 --> 00:00:01,500\nGood morning",
    "ger": "00:00:01,000 --> 00:00:01,800\nGuten Tag",
}
_CHAPTERS = """;FFMETADATA1
title=Holiday
artist=Ann
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1500
title=Arrival
[CHAPTER]
TIMEBASE=1/1000
START=1500
END=3000
title=Beach
"""


def run(*args: str) -> bytes:
    """Run ffmpeg; return what it writes to stdout."""
    status, output, messages = ffmpeg.run_ffmpeg(["-y", "-loglevel", "error", *args])
    assert status == 0, messages
    return output


def film_with_tracks(target: Path, picture: Path | None = None) -> Path:
    """Write a film of 3 s: its tracks are sound, picture, sound, subtitles, sound, subtitles.

    Args:
        target: an mkv or an mp4.
        picture: a video with its picture; by default it is grey.
    """
    notes = target.with_name("chapters.txt")
    notes.write_text(_CHAPTERS)
    for language, cue in CUES.items():
        target.with_name(f"{language}.srt").write_text(f"1\n{cue}\n\n")
    tones = [f"sine={hz}:r=48000:d={2 if hz == TONES_HZ[2] else 3}" for hz in TONES_HZ]
    shown = (
        ("-i", str(picture)) if picture else ("-f", "lavfi", "-i", "color=gray:s=64x64:r=10:d=3")
    )
    is_mkv = target.suffix == ".mkv"
    run(
        *shown,
        *("-f", "lavfi", "-i", tones[0], "-f", "lavfi", "-i", tones[1]),
        *("-itsoffset", "1", "-f", "lavfi", "-i", tones[2]),
        *("-i", str(target.with_name("eng.srt")), "-i", str(target.with_name("ger.srt"))),
        *("-i", str(notes), "-map_metadata", "6", "-map_chapters", "6"),
        *("-map", "1", "-map", "0:v", "-map", "2", "-map", "4", "-map", "3", "-map", "5"),
        *("-c:v", "libx264", "-c:a", "aac", "-c:a:1", "flac" if is_mkv else "aac"),
        *("-c:s", "srt" if is_mkv else "mov_text"),
        *("-metadata:s:0", "language=eng", "-metadata:s:0", "title=Original: one"),
        *("-metadata:s:2", "language=ger", "-metadata:s:3", "language=eng"),
        *("-metadata:s:4", "title=Remarks", "-metadata:s:5", "language=ger"),
        *("-metadata:s:5", "title=Untertitel", "-disposition:0", "0", "-disposition:2", "default"),
        *("-disposition:3", "forced", "-disposition:4", "comment", "-disposition:5", "default"),
        str(target),
    )
    return target


def film_of_a_face(folder: Path) -> Path:
    """Write film.mkv, of a drawn face, with a tag that mp4 cannot hold, and picture.mp4."""
    picture, target = folder / "picture.mp4", folder / "film.mkv"
    face = draw_face(240)
    with VideoWriter(picture, size=(240, 240), fps=Fraction(10), sound=None) as writer:
        writer.write(np.stack([np.roll(face, k, axis=1) for k in range(5)]))
    made = film_with_tracks(folder / "all.mkv", picture)
    run("-i", str(made), "-map", "0", "-c", "copy", "-metadata", "mood=calm", str(target))
    return target


def tags_of(
    path: Path,
) -> tuple[dict[str, str], list[dict[str, str]], list[tuple[str, float, float]]]:
    """Return a file's tags, each track's, and its chapters: title, start and end in seconds."""
    text = run("-i", str(path), "-map", "0", "-c", "copy", "-f", "ffmetadata", "-").decode()
    notes, tracks = parse_sections(text)
    chapters = []
    for part in text.split("[CHAPTER]\n")[1:]:
        entries = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
        tick = eval_fraction(entries["TIMEBASE"])
        chapters.append(
            (entries["title"], int(entries["START"]) * tick, int(entries["END"]) * tick)
        )
    return notes, tracks, chapters


def eval_fraction(text: str) -> float:
    """Return the value of a text such as 1/1000."""
    above, below = text.split("/")
    return int(above) / int(below)


def loudness(path: Path, track: int, hz: float, start_s: float, end_s: float) -> float:
    """Return the amplitude of a tone in a part of a sound track, which counts from 1."""
    with AudioClip.open(path, str(track)) as clip:
        wave: npt.NDArray[np.float32] = clip.waveform()[int(start_s * 16_000) : int(end_s * 16_000)]
    seconds = np.arange(len(wave)) / 16_000
    return float(2 * abs(np.mean(wave * np.exp(-2j * np.pi * hz * seconds))))
