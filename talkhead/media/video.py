"""Read videos frame by frame, and write frames to videos as they arrive."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from talkhead.atomic import PendingFile, check_output
from talkhead.errors import TalkheadError
from talkhead.limits import MAX_CRF, MAX_VIDEO_ASPECT, MAX_VIDEO_SIDE_PX
from talkhead.media import encoding, ffmpeg
from talkhead.media.audio_clip import AudioClip
from talkhead.media.containers import MP4, check_video_name
from talkhead.media.dub_tracks import sound_to_write
from talkhead.media.encoding import BackgroundSound, Voice
from talkhead.media.files import check_input
from talkhead.media.kept_streams import KeptStreams
from talkhead.media.kinds import demuxer_of
from talkhead.media.picture_format import PictureFormat, parse_picture_format
from talkhead.media.picture_notes import write_picture_notes
from talkhead.media.rates import DEFAULT_FPS, MAX_FPS, MIN_FPS
from talkhead.media.raw_frames import READER_STOPPED

__all__ = ["VideoInfo", "VideoWriter", "check_output", "probe_video", "read_frames"]

Frames = npt.NDArray[np.uint8]

# A thousandth of a frame, so that 2/3 s at 30 fps is 20 frames even if a float says 20.0000001.
_ROUNDING = 0.001
_MAPPING_FILTERS = ("zscale", "tonemap")
# Streams without time stamps: after a seek, the position is unknown.
_NO_SEEKING = frozenset(
    {
        *("h261", "h263", "h264", "hevc", "vvc", "obu", "m4v", "mpegvideo", "vc1", "mjpeg"),
        *("webp_anim", "yuv4mpegpipe"),
    }
)


@dataclass(frozen=True)
class VideoInfo:
    """A video's properties, as its file declares them.

    Width and height are as displayed: rotated, with square pixels. The rate is that of the
    container, or 25 if it declares none or one above 120; `duration_s` is that of the longest
    stream, or 0 if the container declares none.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    duration_s: float
    has_audio: bool
    picture: PictureFormat
    demuxer: str = ""
    """ffmpeg's name for the container format."""


def probe_video(path: Path) -> VideoInfo:
    """Read a video's size, rate and length; this decodes its first frame.

    Raises:
        TalkheadError: the file is missing, empty, a directory or not a video; it is larger or
            slower than any video of a face (`MAX_VIDEO_PIXELS`, `MAX_VIDEO_ASPECT`, one frame per
            second); or this ffmpeg cannot decode it or convert its colours.
    """
    path = Path(path)
    check_input(path)
    _, output, messages = ffmpeg.run_ffmpeg(ffmpeg.probe_args(path, demuxer_of(path)))
    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", output)
    if header is None:
        kinds = ffmpeg.stream_kinds(messages)
        if kinds and "Video" not in kinds:
            raise TalkheadError(f"{path} has no video stream; choose a video")
        raise TalkheadError(
            f"{path} cannot be decoded as a video ({ffmpeg.first_error(messages)});"
            " convert it to mp4, or copy it again"
        )
    width, height, numerator, denominator = (int(group) for group in header.groups())
    long, short = max(width, height), min(width, height)
    if long > MAX_VIDEO_SIDE_PX or long > MAX_VIDEO_ASPECT * short:
        raise TalkheadError(
            f"{path} is {width} x {height} px; scale or crop it to sides of at most"
            f" {MAX_VIDEO_SIDE_PX} px and an aspect ratio of at most {MAX_VIDEO_ASPECT}:1"
        )
    fps = Fraction(numerator, denominator) if denominator else Fraction(0)
    if 0 < fps < MIN_FPS:  # its frames would be repeated for hours
        raise TalkheadError(
            f"{path} has one frame every {float(1 / fps):.4g} s; choose a video with at least"
            f" {MIN_FPS} per second"
        )
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=fps if MIN_FPS <= fps <= MAX_FPS else DEFAULT_FPS,
        duration_s=ffmpeg.declared_duration_s(messages) or 0.0,
        has_audio=ffmpeg.audio_codec(messages) is not None,
        picture=_picture_format(path, messages),
        demuxer=ffmpeg.demuxer(messages) or "",
    )


def _picture_format(path: Path, listing: str) -> PictureFormat:
    try:
        picture = parse_picture_format(listing)
    except TalkheadError as error:
        raise TalkheadError(f"{path} cannot be read ({error}); convert it to mp4") from error
    if picture.needs_colour_mapping and not ffmpeg.filter_names().issuperset(_MAPPING_FILTERS):
        raise TalkheadError(
            f"{path} has HDR or wide-gamut colours, which this ffmpeg cannot convert (it lacks"
            f" {' or '.join(_MAPPING_FILTERS)}); unset IMAGEIO_FFMPEG_EXE, or convert the video"
            " to SDR"
        )
    return picture


def read_frames(
    path: Path,
    *,
    fps: Fraction | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    size: tuple[int, int] | None = None,
) -> Generator[Frames, None, None]:
    """Read a video one frame at a time, at a constant rate based on its time stamps.

    Frame k is the picture shown at start_s + k / fps, to within half a frame; time 0 is where the
    first stream, video or audio, starts. Frames are repeated or dropped if the video's own rate
    differs.

    Colours are BT.709, as a player shows them on an ordinary screen: HDR and wide-gamut colours are
    mapped to it, interlaced frames are deinterlaced, and transparency becomes white.

    Args:
        path: the video.
        fps: frames per second; None for the video's own rate.
        start_s: time of the first frame.
        duration_s: how much to read, rounded up to whole frames; None reads to the end.
        size: (width, height) to scale to; None for the video's own.

    Yields:
        uint8, shape = (H, W, 3), RGB; a new array each time.

    Raises:
        TalkheadError: as `probe_video`; the video has no frame at `start_s`; or decoding fails.
    """
    info = probe_video(path)
    rate = fps or info.fps
    count = None if duration_s is None else math.ceil(duration_s * rate - _ROUNDING)
    width, height = size or (info.width, info.height)
    args = ffmpeg.read_frames_args(
        info.path,
        fps=rate,
        start_s=start_s,
        num_frames=count,
        size=(width, height),
        picture=info.picture,
        demuxer=demuxer_of(info.path),
        can_seek=info.demuxer not in _NO_SEEKING,
    )
    with ffmpeg.running_ffmpeg(args) as process:
        is_empty = True
        while (frame := _read_frame(process.stdout, height, width)) is not None:
            is_empty = False
            yield frame
        if process.wait() != 0:
            reason = ffmpeg.first_error(process.stderr_text())
            raise TalkheadError(f"{path} cannot be decoded to its end ({reason}); copy it again")
        if is_empty and count != 0:
            raise TalkheadError(f"{path} has no frame at {start_s:g} s; choose an earlier start")


def _read_frame(stream: IO[bytes], height: int, width: int) -> Frames | None:
    frame = np.empty((height, width, 3), np.uint8)
    rest = frame.data.cast("B")
    while rest:
        num_read: int = stream.readinto(rest)  # type: ignore[attr-defined]
        if not num_read:
            return None
        rest = rest[num_read:]
    return frame


class VideoWriter:
    """Write frames and an audio file to a video that appears whole or not at all, or to a stream.

    The name chooses the format, see `talkhead.media.containers`; a GIF or WebP drops the sound. In
    mp4 and mkv: H.264 in yuv420p. Audio that is already AAC is copied unchanged; any other is
    encoded to AAC once, with its own channels and rate; rates above 48 kHz become 48 kHz. Neither
    audio nor video is cut to the other's length. The last column or row of an odd size is dropped.
    The same input gives the same bytes. Use it as a context manager: the file gets its name at the
    end; any exception, including Ctrl-C, removes it.

    A stream, such as a pipe, gets a fragmented mp4, about a second at a time, while frames are
    still being written. After an exception, its content ends early.
    """

    def __init__(
        self,
        target: Path | IO[bytes],
        *,
        size: tuple[int, int],
        fps: Fraction,
        sound: Path | AudioClip | None,
        crf: int = 18,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
        seal: Callable[[Path, Path], None] | None = None,
        sound_track: int | None = None,
        background: BackgroundSound | None = None,
        kept: KeptStreams | None = None,
        has_alpha: bool = False,
        voices: Sequence[Voice] = (),
    ) -> None:
        """Check everything that can be checked before slow work starts; write nothing yet.

        Args:
            target: the file to write; or an open stream with a descriptor.
            size: (width, height) of the frames.
            fps: frames per second.
            sound: a clip, or a file with audio (a video will do); None for a silent video.
            crf: quality, from 0 (lossless) to 51 (worst).
            metadata: metadata for the container, such as ``comment``.
            overwrite: whether to replace an existing target.
            seal: writes the final file from the encoded one, for example to sign it. A stream
                cannot be sealed.
            sound_track: which sound track of a file, from 0; None for that of a clip, or the one
                that is flagged as the default.
            background: an old sound to mix under `sound`.
            kept: what else of a dubbed video goes into the file; for a file and with sound only.
            has_alpha: whether the frames are RGBA, and the file keeps their transparency.
            voices: several sounds to mix, of which `sound` is the first.

        Raises:
            TalkheadError: the output cannot be written, or the size, quality or audio is unusable.
        """
        self._target = target
        self._name = str(target) if isinstance(target, Path) else "the video"
        self.size = size
        self._container = MP4
        self.num_channels = 4 if has_alpha else 3
        if isinstance(target, Path):
            self._container = check_video_name(target)
            check_output(target, overwrite=overwrite)
        if has_alpha and not self._container.has_alpha:
            raise TalkheadError(f"{self._container.name} cannot be transparent; choose .webm")
        if not all(2 <= side <= MAX_VIDEO_SIDE_PX for side in size):
            raise TalkheadError(
                f"{self._name} cannot be {size[0]} x {size[1]} px; choose sides of 2 to"
                f" {MAX_VIDEO_SIDE_PX} px"
            )
        if not 0 <= crf <= MAX_CRF:
            raise TalkheadError(f"quality (crf) {crf} is out of range; give 0 to {MAX_CRF}")
        if seal is not None and not isinstance(target, Path):
            raise TalkheadError("a video written to a stream cannot be signed; name a file")
        if self._container.voice is None:
            sound = None
        self._sound = sound.path or sound if isinstance(sound, AudioClip) else sound
        if sound_track is None and isinstance(sound, AudioClip):
            sound_track = sound.track
        copy_sound = False
        if isinstance(self._sound, Path):
            sound_track, copy_sound = sound_to_write(self._sound, sound_track, self._container)
        if kept is not None and (sound is None or kept.container != self._container.name):
            raise ValueError(f"streams kept for {kept.container} do not fit {self._name}")
        self._overwrite = overwrite
        self._seal = seal
        self._num_frames = 0
        self._stack = ExitStack()
        self._pending: PendingFile | None = None
        self._args = partial(
            encoding.write_video_args,
            size=size,
            fps=fps,
            crf=crf,
            copy_sound=copy_sound and background is None and len(voices) < 2,
            metadata=metadata or {},
            sound_track=sound_track or 0,
            background=background,
            kept=None if kept is None or kept.is_plain else kept,
            container=self._container,
            has_alpha=has_alpha,
            voices=voices,
        )
        self._metadata = metadata or {}

    def __enter__(self) -> VideoWriter:
        """Start the encoder."""
        with ExitStack() as stack:
            sound = self._sound
            if isinstance(sound, AudioClip):
                sound = stack.enter_context(sound.as_file())
            if isinstance(self._target, Path):
                stream, self._pending = None, PendingFile(self._target)
                stack.callback(self._pending.close)
                args = self._args(self._pending.path, sound=sound)
                inherited = self._pending.descriptor
            else:
                stream, inherited = self._target, None
                args = self._args(None, sound=sound)
            self._process = stack.enter_context(
                ffmpeg.running_ffmpeg(args, feed=True, output=stream, inherited=inherited)
            )
            self._stack = stack.pop_all()
        return self

    def write(self, frames: Frames) -> None:
        """Append frames: uint8, RGB, shape = (T, H, W, 3) or (H, W, 3); with alpha, RGBA.

        Raises:
            ValueError: the shape or type is wrong.
            TalkheadError: the encoder stopped, for example because the disk is full or the stream
                has no reader left.
        """
        width, height = self.size
        shape = height, width, self.num_channels
        if frames.dtype != np.uint8 or frames.shape[-3:] != shape:
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not uint8 {self.size}")
        if frames.ndim not in (3, 4):
            raise ValueError(f"frames have {frames.ndim} dimensions, not 3 or 4")
        for frame in frames.reshape(-1, *shape):
            try:
                self._process.stdin.write(np.ascontiguousarray(frame).data)
            except OSError as error:  # the encoder has ended
                self._process.wait()
                raise self._failure() from error
            self._num_frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish and rename the file; after an exception, stop the encoder and remove the file."""
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if self._num_frames == 0:
            raise TalkheadError(f"{self._name} would have no frames; nothing was written")
        with suppress(OSError):  # the exit status is more informative
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise self._failure()
        if self._pending is not None:
            if self._container.picture in ("gif", "webp"):  # ffmpeg writes no text into them
                write_picture_notes(self._pending.path, self._metadata)
            self._publish(self._pending)

    def _publish(self, encoded: PendingFile) -> None:
        with ExitStack() as stack:
            try:
                whole = encoded
                if self._seal is not None:
                    whole = PendingFile(encoded.target)
                    stack.callback(whole.close)
                    self._seal(encoded.path, whole.path)
                whole.publish(overwrite=self._overwrite)
            except FileExistsError as error:
                raise TalkheadError(
                    f"{self._name} appeared while the video was being made; choose another name or"
                    " allow overwriting"
                ) from error
            except OSError as error:
                raise TalkheadError(f"{self._name} cannot be written ({error.strerror})") from error

    def _failure(self) -> TalkheadError:
        messages = self._process.stderr_text()
        if self._pending is None and "Broken pipe" in messages:
            return TalkheadError(READER_STOPPED)
        reason = ffmpeg.first_error(messages)
        return TalkheadError(
            f"{self._name} could not be written ({reason}); check the sound and the free disk space"
        )
