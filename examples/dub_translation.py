"""Dub a video from translated subtitles, with any voice that a command can speak.

    python dub_translation.py talk.mp4 german.srt dubbed.mp4 -- espeak-ng -v de -w {wav} {text}

The words after -- are the command: {text} stands for a line, {wav} for the file that it writes.
Without {text}, the line is on its stdin. Between the lines, picture and sound stay as they are.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from imageio_ffmpeg import get_ffmpeg_exe

from talkhead import TalkheadError, TalkheadPipeline, export_to_video
from talkhead.media.audio import open_source
from talkhead.media.video import VideoInfo, probe_video, read_frames

Floats = npt.NDArray[np.float32]

FADE_S = 0.12
"""Between the old picture and sound and the new ones."""
GAP_S = 0.1
"""At least this lies between the end of a line and the next one."""
TRIM = 0.01
"""Silence at the ends of a line, relative to its loudest sample, is cut off."""
RATE_HZ = 48_000
TIMES = re.compile(r"(\d+):(\d+):(\d+)[,.](\d+)\s*-->\s*(\d+):(\d+):(\d+)[,.](\d+)[^\n]*")


@dataclass(frozen=True)
class Line:
    """A subtitle, and how long it is spoken."""

    start_s: float
    end_s: float
    text: str


def read_srt(path: Path) -> list[Line]:
    """Return the lines of a subtitle file in their order, without formatting and leading dashes."""
    lines = []
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")):
        if times := TIMES.search(block):
            numbers = [int(each) for each in times.groups()]
            start, end = (
                h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (numbers[:4], numbers[4:])
            )
            text = re.sub(r"<[^>]*>|\{[^}]*\}|^\s*-+\s*", " ", block[times.end() :], flags=re.M)
            if words := " ".join(text.split()):
                lines.append(Line(start, end, words))
    if not lines:
        raise TalkheadError(f"{path} has no subtitles: give an srt file")
    return sorted(lines, key=lambda line: line.start_s)


def speak(command: list[str], text: str, wav: Path) -> Path:
    """Run the voice's command, and return the file that it wrote."""
    words = [word.replace("{text}", text).replace("{wav}", str(wav)) for word in command]
    sent = None if any("{text}" in word for word in command) else text
    ended = subprocess.run(words, input=sent, capture_output=True, encoding="utf-8", check=False)
    if ended.returncode or not wav.exists():
        reason = ended.stderr.strip().splitlines()[-1:] or ["it wrote no {wav}"]
        raise TalkheadError(f"{words[0]} cannot speak {text!r}: {reason[0]}")
    return wav


def decode(wav: Path, tempo: float = 1.0) -> Floats:
    """Return a line's sound, (N,), at another tempo but the same pitch, without silent ends."""
    filters = f"atempo={tempo:.6f}" if tempo > 1 else "anull"
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(wav), "-af", filters]
    command += ["-ac", "1", "-ar", str(RATE_HZ), "-f", "f32le", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    samples = np.frombuffer(data, np.float32)
    loud = np.flatnonzero(np.abs(samples) > TRIM * np.abs(samples).max(initial=1e-6))
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def fit(
    lines: list[Line], command: list[str], film: VideoInfo, max_tempo: float, track: Path
) -> list[Line]:
    """Write all lines to one sound as long as the video, and return when each is spoken.

    A line may last until the next one begins. One that is longer is spoken faster.
    """
    spoken, too_long = [], []
    ends = [after.start_s - GAP_S for _, after in pairwise(lines)] + [film.duration_s]
    with (
        tempfile.TemporaryDirectory() as folder,
        soundfile.SoundFile(track, "w", RATE_HZ, 1, "FLOAT", format="RF64") as file,
    ):
        for number, (line, end_s) in enumerate(zip(lines, ends, strict=True)):
            wav = speak(command, line.text, Path(folder, f"{number}.wav"))
            samples, room = decode(wav), round(max(end_s - line.start_s, 0) * RATE_HZ)
            if len(samples) > room:
                tempo = len(samples) / max(room, 1) * 1.01
                if tempo > max_tempo:
                    too_long.append(f"{line.text!r} (x {tempo:.2f})")
                    continue
                samples = decode(wav, tempo)[:room]
            rest = round(line.start_s * RATE_HZ) - file.tell()
            file.write(np.zeros(max(rest, 0), np.float32))
            file.write(samples)
            spoken.append(replace(line, end_s=max(line.end_s, file.tell() / RATE_HZ)))
            wav.unlink()
        while (rest := round(film.duration_s * RATE_HZ) - file.tell()) > 0:
            file.write(np.zeros(min(rest, RATE_HZ), np.float32))
    if too_long:
        raise TalkheadError(
            f"{len(too_long)} lines do not fit at {max_tempo} times the tempo: shorten "
            + ", ".join(too_long)
        )
    return spoken


def share_of_new(lines: list[Line], times_s: npt.NDArray[np.float64]) -> Floats:
    """Return how much of the new picture and sound is there at some moments, from 0 to 1."""
    share = np.zeros(len(times_s), np.float32)
    for line in lines:
        if line.start_s - FADE_S <= times_s[-1] and line.end_s + FADE_S >= times_s[0]:
            inside = np.minimum(times_s - line.start_s, line.end_s - times_s) / FADE_S + 1
            share = np.maximum(share, np.clip(inside, 0, 1))
    return share


def mix(film: Path, track: Path, lines: list[Line], mixed: Path) -> None:
    """Write the old sound where nobody speaks a line, and the lines; a second at a time."""
    with open_source(film) as old, soundfile.SoundFile(track) as new:
        is_stereo = old.num_channels == 2
        with soundfile.SoundFile(
            mixed, "w", old.rate_hz, 1 + is_stereo, "FLOAT", format="RF64"
        ) as out:
            for block in old.blocks():
                block = block if is_stereo else block.mean(axis=1, keepdims=True)
                times_s = (out.tell() + np.arange(len(block))) / old.rate_hz
                voice = resampled(new, times_s)
                share = share_of_new(lines, times_s)[:, None]
                out.write(np.clip(block * (1 - share) + voice[:, None], -1, 1))


def resampled(sound: soundfile.SoundFile, times_s: npt.NDArray[np.float64]) -> Floats:
    """Return a sound at increasing moments; silence after its end."""
    first = min(int(times_s[0] * RATE_HZ), sound.frames)
    sound.seek(first)
    samples = sound.read(int(times_s[-1] * RATE_HZ) + 2 - first, np.float32)
    if not len(samples):
        return np.zeros(len(times_s), np.float32)
    at = times_s * RATE_HZ - first
    return np.interp(at, np.arange(len(samples)), samples, right=0).astype(np.float32)


def blended(new: Any, film: Path, fps: Fraction, lines: list[Line]) -> Iterator[Any]:
    """Yield new frames within the lines, old ones between them."""
    with closing(new), closing(read_frames(film, fps=fps)) as old:
        theirs = None
        for number, mine in enumerate(new):
            theirs = next(old, theirs)  # sound may be longer than the picture, whose end is held
            share = share_of_new(lines, np.array([(number + 0.5) / float(fps)]))[0]
            yield np.round(share * mine + (1 - share) * theirs).astype(np.uint8)


def main() -> None:
    """Read the command line, and dub the video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("srt", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--max-tempo", type=float, default=1.6, help="how much faster to speak")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--choose", default="largest", help="who speaks")
    parser.add_argument("voice", nargs="+", help="after --: the voice's command")
    given = parser.parse_args()
    film = probe_video(given.video)
    lines = read_srt(given.srt)
    with tempfile.TemporaryDirectory() as folder:
        track, mixed = Path(folder, "voice.wav"), Path(folder, "mixed.wav")
        lines = fit(lines, given.voice, film, given.max_tempo, track)
        if film.has_audio:
            mix(given.video, track, lines, mixed)
        pipeline = TalkheadPipeline.from_pretrained(given.weights, dtype="auto")
        # The lips follow the voice alone, without the old sound.
        output = pipeline(
            given.video, track, choose=given.choose, loop="hold", output_type="generator"
        )
        frames: Any = blended(output.frames, given.video, output.fps, lines)
        sound = mixed if film.has_audio else track
        export_to_video(replace(output, frames=frames, audio=sound), given.output, overwrite=True)
    print(f"{given.output}: {len(lines)} lines, {output.num_frames} frames")


if __name__ == "__main__":
    try:
        main()
    except TalkheadError as error:
        sys.exit(f"dub_translation: {error}")
