"""Write frames and their sound as they come: a fragmented mp4, or raw frames."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from fractions import Fraction
from types import TracebackType
from typing import IO, Protocol

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media import encoding, ffmpeg
from talkhead.media.containers import MP4_KEYS
from talkhead.media.matroska import frame_cluster, stream_header

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

FORMATS = ("mp4", "rgb24", "yuv420p")
LIVE_FRAGMENT_S = 0.1
"""Shorter ones confuse the time stamps of ffmpeg's mp4 writer."""
FINISH_S = 20.0
"""Longest time to wait for the encoder's last bytes."""


class LiveWriter(Protocol):
    """Takes frames one by one, each with its sound."""

    def __enter__(self) -> LiveWriter:
        """Start writing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish what was written."""

    def write(self, frame: Pixels, sound: Samples) -> None:
        """Write a frame, uint8 (H, W, 3), and the sound that belongs to it, (n, channels)."""


class RgbWriter:
    """Writes raw frames, rgb24, without sound."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target

    def __enter__(self) -> RgbWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Every frame has been flushed."""

    def write(self, frame: Pixels, sound: Samples) -> None:
        """Write a frame, uint8 (H, W, 3).

        Raises:
            BrokenPipeError: the reader has closed the pipe.
            TalkheadError: the disk is full.
        """
        del sound
        try:
            self._target.write(np.ascontiguousarray(frame).data)
            self._target.flush()
        except BrokenPipeError as error:
            raise _reader_is_gone() from error
        except OSError as error:
            raise TalkheadError(f"the video could not be written ({error.strerror})") from error


class EncodedWriter:
    """Writes a fragmented mp4 of H.264 and AAC, or raw yuv420p, through ffmpeg.

    The mp4 can be played while it grows, and as far as it goes if the process is killed. It is
    finished even after an exception, such as Ctrl-C.

    Args:
        target: an open file or pipe with a descriptor.
        output_format: mp4 or yuv420p, which has no sound.
        size: (width, height) of the frames, even.
        fps: frames per second.
        rate_hz: samples per second.
        num_channels: channels of the sound.
        crf: quality of the mp4, from 0 (lossless) to 51 (worst).
        metadata: metadata of the mp4, such as ``comment``.
    """

    def __init__(
        self,
        target: IO[bytes],
        *,
        output_format: str,
        size: tuple[int, int],
        fps: Fraction,
        rate_hz: int,
        num_channels: int,
        crf: int = 18,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self._fps, self._rate_hz = target, fps, rate_hz
        self._header = stream_header(size, fps, rate_hz, num_channels)
        self._args = live_video_args(
            fps=fps, crf=crf, metadata=metadata or {}, is_raw=output_format == "yuv420p"
        )
        self._num_frames = self._num_samples = 0
        self._stack = ExitStack()

    def __enter__(self) -> EncodedWriter:
        """Start the encoder."""
        self._process = self._stack.enter_context(
            ffmpeg.running_ffmpeg(self._args, feed=True, output=self._target)
        )
        self._feed([self._header])
        return self

    def write(self, frame: Pixels, sound: Samples) -> None:
        """Write a frame, uint8 (H, W, 3), and the sound that belongs to it, (n, channels).

        Raises:
            BrokenPipeError: the reader of the video has closed it.
            TalkheadError: the encoder stopped, for example because the disk is full.
        """
        times = self._num_frames / self._fps, Fraction(self._num_samples, self._rate_hz)
        self._feed(frame_cluster(times[0], frame, times[1], sound))
        self._num_frames += 1
        self._num_samples += len(sound)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the video; ffmpeg ends by itself as soon as its input does."""
        with self._stack:
            with suppress(OSError):  # the exit status is more informative
                self._process.stdin.close()
            try:
                status = self._process.process.wait(FINISH_S)
            except subprocess.TimeoutExpired:
                status = None  # nobody reads its output
            if status != 0 and kind is None:
                raise self._failure()

    def _feed(self, parts: list[bytes]) -> None:
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except OSError as error:
            self._process.process.wait()
            raise self._failure() from error

    def _failure(self) -> Exception:
        messages = self._process.stderr_text()
        if "Broken pipe" in messages:
            return _reader_is_gone()
        return TalkheadError(
            f"the video could not be written ({ffmpeg.first_error(messages)}); check the disk"
        )


def live_video_args(
    *, fps: Fraction, crf: int, metadata: Mapping[str, str], is_raw: bool
) -> list[str]:
    """Encode a Matroska stream of raw RGB and samples from stdin to stdout, without delay.

    The mp4 has fragments of `LIVE_FRAGMENT_S`, and a key frame every `FRAGMENT_S`. Sound is at 48
    kHz, because a packet of AAC lasts 1024 samples. `is_raw` is for frames alone, in yuv420p.
    """
    args = [
        *ffmpeg.common_args(),
        *("-probesize", "32", "-analyzeduration", "0"),
        *("-f", "matroska", "-i", "pipe:0", "-map", "0:v:0"),
        *("-map_metadata", "-1", "-r", ffmpeg.rate_text(fps)),
        *("-vf", ",".join(encoding.TO_BT709)),
    ]
    if is_raw:
        return [*args, "-f", "rawvideo", "pipe:1"]
    args += ["-map", "0:a:0", "-c:v", "libx264", "-preset", encoding.ENCODER_PRESET]
    args += ["-crf", str(crf)]
    args += ["-tune", "zerolatency", "-threads:v", "1"]
    args += ["-g:v", str(math.ceil(fps * encoding.FRAGMENT_S))]
    args += [*encoding.sound_args(copy_sound=False), "-ar", str(encoding.MAX_AAC_RATE_HZ)]
    args += ["-flags:v", "+bitexact", "-fflags", "+bitexact"]
    for key, value in metadata.items():
        args += ["-metadata", f"{key}={value}"]
    tags = "" if set(metadata) <= MP4_KEYS else "+use_metadata_tags"
    fragments = f"+empty_moov+delay_moov+default_base_moof{tags}"
    args += ["-movflags", fragments, "-frag_duration", f"{LIVE_FRAGMENT_S * 1e6:.0f}"]
    return [*args, "-flush_packets", "1", "-f", "mp4", "pipe:1"]


def _reader_is_gone() -> BrokenPipeError:
    # Without a number: typer would end the process with 1 for a pipe of its own.
    return BrokenPipeError("the reader of the video has closed it")
