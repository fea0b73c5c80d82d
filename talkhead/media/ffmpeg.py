"""Run ffmpeg: pure functions build the arguments; processes never hang and are never left behind.

The binary comes with the imageio-ffmpeg package. Arguments are lists; no shell is involved.
ffmpeg's messages go to an unnamed temporary file, because a pipe that is not drained would block.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from talkhead.errors import TalkheadError
from talkhead.limits import MAX_VIDEO_PIXELS
from talkhead.media.picture_format import (
    PictureFormat,
    field_filters,
    rgb_filters,
    video_line,
)

_PIPE_BYTES = 2**20
"""The most that Linux allows everyone."""


@cache
def ffmpeg_exe() -> str:
    """Return the path of the ffmpeg binary (``IMAGEIO_FFMPEG_EXE`` overrides it).

    Raises:
        TalkheadError: no binary exists for this platform.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise TalkheadError(
            "no ffmpeg binary was found; reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to one"
        ) from None


@cache
def filter_names() -> frozenset[str]:
    """Return the filters that this ffmpeg supports."""
    _, output, _ = run_ffmpeg(["-hide_banner", "-loglevel", "error", "-filters"])
    return frozenset(re.findall(r"^ [A-Z.|]+ +(\w+) +\S+->", output.decode(), re.MULTILINE))


def input_name(path: Path) -> str:
    """Return a name that ffmpeg takes for a file, never for an option or a protocol."""
    return str(path.absolute())


def common_args() -> list[str]:
    """Return the arguments that every run starts with: no questions, errors only."""
    return ["-hide_banner", "-nostdin", "-loglevel", "repeat+error"]


def input_args(path: Path, demuxer: str | None = None) -> list[str]:
    """Return the arguments that name an input file; `demuxer` is as for `probe_args`."""
    forced = [] if demuxer is None else ["-f", demuxer]
    # Playlists must not make ffmpeg use the network.
    return [*forced, "-protocol_whitelist", "file", "-i", input_name(path)]


def _pictures_args(path: Path, demuxer: str | None) -> list[str]:
    return ["-max_pixels", str(MAX_VIDEO_PIXELS), *input_args(path, demuxer)]


def probe_args(path: Path, demuxer: str | None = None) -> list[str]:
    """List the streams on stderr, and write the first frame with its YUV4MPEG header to stdout.

    The header holds the exact size and rate, after rotation and with square pixels. `demuxer` is
    for files that ffmpeg would read as something else.
    """
    return [
        *("-hide_banner", "-nostdin"),
        *_pictures_args(path, demuxer),
        *("-map", "0:V:0", "-frames:v", "1"),
        *("-vf", f"scale=w='min(round(iw*sar),{MAX_VIDEO_PIXELS}/ih)':h=ih,setsar=1"),
        *("-pix_fmt", "yuv420p", "-strict", "-1", "-f", "yuv4mpegpipe", "pipe:1"),
    ]


def list_streams_args(path: Path, demuxer: str | None = None) -> list[str]:
    """List the streams on stderr; ffmpeg then fails because it has no output, as expected.

    `demuxer` is as for `probe_args`.
    """
    return ["-hide_banner", "-nostdin", *input_args(path, demuxer)]


def read_notes_args(path: Path) -> list[str]:
    """Write a container's metadata to stdout, in ffmpeg's text format."""
    return [*common_args(), *input_args(path), "-f", "ffmetadata", "pipe:1"]


def read_tags_args(path: Path, demuxer: str | None = None) -> list[str]:
    """List the streams on stderr, and write all metadata to stdout, a section for each stream.

    `demuxer` is as for `probe_args`.
    """
    return [
        *list_streams_args(path, demuxer),
        *("-map", "0", "-ignore_unknown", "-c", "copy", "-t", "0", "-f", "ffmetadata", "pipe:1"),
    ]


def read_sound_args(path: Path, track: int = 0) -> list[str]:
    """Decode an audio stream to float32 at its own rate and channels, as AU on stdout.

    `track` counts from 0 among the streams of sound. A late start and gaps are filled with
    silence, so that sample n is at n / rate.
    """
    return [
        *common_args(),
        *input_args(path),
        *("-map", f"0:a:{track}", "-af", "aresample=async=1:first_pts=0"),
        *("-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
    ]


def read_frames_args(
    path: Path,
    *,
    fps: Fraction,
    start_s: float,
    num_frames: int | None,
    size: tuple[int, int],
    picture: PictureFormat,
    demuxer: str | None = None,
    can_seek: bool = True,
) -> list[str]:
    """Decode frames to raw RGB on stdout, one every 1 / fps seconds from `start_s` on.

    Frame k is the picture shown at start_s + k / fps. The seek goes a little further back, so
    that rounding cannot lose the picture at `start_s` itself. Frames are renumbered after it: if
    the time stamps started late, the raw output would repeat the first frame to fill the gap.
    `demuxer` is as for `probe_args`; without `can_seek`, everything before `start_s` is decoded.
    """
    seek_s = max(0.0, start_s - 0.5) if can_seek else 0.0
    limit = [] if num_frames is None else ["-frames:v", str(num_frames)]
    filters = (
        *field_filters(picture),
        f"fps={rate_text(fps)}:start_time={start_s - seek_s:.6f}",
        "setpts=N",
        *rgb_filters(picture, size),
    )
    decoder = [] if picture.decoder is None else ["-c:v", picture.decoder]
    return [
        *common_args(),
        # Even a seek to the start loses frames if the container has no index, such as FLV.
        *(("-ss", f"{seek_s:.6f}") if seek_s else ()),
        *decoder,
        *_pictures_args(path, demuxer),
        *("-map", "0:V:0", "-vf", ",".join(filters), *limit),
        # ffmpeg 7 forgets the rate when frames are renumbered, and would drop some to reach 25.
        *("-r", rate_text(fps), "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"),
    ]


def rate_text(fps: Fraction) -> str:
    """Return a frame rate as ffmpeg takes it."""
    return f"{fps.numerator}/{fps.denominator}"


@dataclass(frozen=True)
class FfmpegProcess:
    """A running ffmpeg: its pipes, and the file that collects its messages."""

    process: subprocess.Popen[bytes]
    messages: IO[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to write the encoder's input to."""
        if self.process.stdin is None:
            raise ValueError("this ffmpeg was started without an input pipe")
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe to read the decoder's output from."""
        if self.process.stdout is None:
            raise ValueError("this ffmpeg was started without an output pipe")
        return self.process.stdout

    def wait(self) -> int:
        """Wait for the process to end and return its exit status."""
        return self.process.wait()

    def stderr_text(self) -> str:
        """Return everything that ffmpeg has printed so far."""
        self.messages.seek(0)
        return self.messages.read().decode("utf-8", "replace")


@contextmanager
def running_ffmpeg(
    args: Sequence[str],
    *,
    feed: bool = False,
    output: IO[bytes] | None = None,
    inherited: int | None = None,
) -> Iterator[FfmpegProcess]:
    """Run ffmpeg with a pipe for its input (`feed`) or its output; it never outlives the context.

    With `feed`, stdout goes to the open file `output`, or is discarded. ffmpeg runs in its own
    session: Ctrl-C reaches only Python, which then stops ffmpeg. `inherited` is the descriptor of
    an unnamed file that ffmpeg writes to.
    """
    sink = subprocess.DEVNULL if output is None else output
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [ffmpeg_exe(), *args],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=sink if feed else subprocess.PIPE,
            stderr=messages,
            start_new_session=True,
            pass_fds=() if inherited is None else (inherited,),
        )
        try:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _widen(pipe)
            yield FfmpegProcess(process, messages)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # the rest of the buffer has no reader
                        pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more than the usual 64 KB, so that a frame takes a few turns, not hundreds.

    Linux only. The system refuses where a user has many pipes.
    """
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return


def run_ffmpeg(args: Sequence[str]) -> tuple[int, bytes, str]:
    """Run ffmpeg to completion; return its exit status, stdout and messages."""
    with running_ffmpeg(args) as ffmpeg:
        output = ffmpeg.stdout.read()
        return ffmpeg.wait(), output, ffmpeg.stderr_text()


def first_error(stderr: str) -> str:
    """Return the first informative line of ffmpeg's messages, without its `[...]` prefix.

    The list of streams explains nothing: its head and its indented lines are skipped.
    """
    said = [line for line in stderr.splitlines() if not re.match(r"\s|Input #|Stream map", line)]
    lines = [re.sub(r"^(\[[^]]*\]\s*)+", "", line).strip() for line in said]
    lines = [line.removeprefix("Error opening input: ") for line in lines if line]
    empty_phrases = ("Error opening input file", "misdetection possible")
    telling = [line for line in lines if not any(phrase in line for phrase in empty_phrases)]
    return (telling or lines or ["no reason given"])[0].rstrip(".!")


def num_decoding_errors(stderr: str) -> int:
    """Count the packets that could not be decoded; ffmpeg skips them."""
    return len(re.findall(r"Error submitting packet to decoder|Decoding error: ", stderr))


def demuxer(stderr: str) -> str | None:
    """Return the name of the demuxer that reads the input, or None if ffmpeg has none."""
    match = re.search(r"^Input #0, (\S+), from ", stderr, re.MULTILINE)
    return match.group(1) if match else None


def stream_kinds(stderr: str) -> list[str]:
    """Return the kinds of the listed streams (``Video``, ``Audio``, ...), without cover art."""
    lines = re.findall(r"^\s*Stream #0:\d+.*", stderr, re.MULTILINE)
    kinds = [re.search(r": (Video|Audio|Subtitle|Data|Attachment): ", line) for line in lines]
    return [
        kind.group(1)
        for kind, line in zip(kinds, lines, strict=True)
        if kind is not None and "(attached pic)" not in line
    ]


def audio_codec(stderr: str) -> str | None:
    """Return the codec of the first audio stream listed, or None without one."""
    match = re.search(r"^\s*Stream #0:\d+.*?: Audio: (\w+)", stderr, re.MULTILINE)
    return match.group(1) if match else None


def audio_rate_hz(stderr: str) -> int | None:
    """Return the sample rate of the first audio stream listed, or None if it has none."""
    match = re.search(r"^\s*Stream #0:\d+.*?: Audio: .*?, (\d+) Hz", stderr, re.MULTILINE)
    return int(match.group(1)) if match else None


def video_codec(stderr: str) -> str | None:
    """Return the codec of the first video stream listed, or None without one; ignore cover art."""
    match = re.search(r": Video: (\w+)", video_line(stderr) or "")
    return match.group(1) if match else None


def declared_duration_s(stderr: str) -> float | None:
    """Return the duration that a container declares; None without one, or if ffmpeg guesses it."""
    match = re.search(r"^\s*Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", stderr, re.MULTILINE)
    if match is None or "Estimating duration from bitrate" in stderr:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def declared_start_s(stderr: str) -> float:
    """Return the start time of a container's first stream, or 0 if it declares none."""
    match = re.search(r"^\s*Duration: .*?, start: (-?\d+(?:\.\d+)?)", stderr, re.MULTILINE)
    return float(match.group(1)) if match else 0.0
