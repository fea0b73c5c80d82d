"""The outputs of a rendering job: what its name asks for, and who writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from talkhead.atomic import check_output
from talkhead.errors import TalkheadError
from talkhead.media.containers import CONTAINERS, MP4, Container, check_video_name, container_of

if TYPE_CHECKING:
    from talkhead.jobs.render_job import CheckedJob
    from talkhead.media.encoding import BackgroundSound, Voice
    from talkhead.media.png_sequence import PngSequenceWriter
    from talkhead.media.raw_frames import RawFrameWriter
    from talkhead.media.video import VideoWriter

STDOUT = Path("-")
MP4_FORMAT, RAW_FORMAT = FORMATS = ("mp4", "rawvideo")
"""What can be written to stdout."""
SOUND = "the sound"


def check_target(output: Path, *, overwrite: bool) -> None:
    """Reject an output that cannot be written, before slow work starts.

    Raises:
        TalkheadError: it ends in none of the known endings, or cannot be created.
    """
    container = container_of(output)
    if container is not None and container.is_sequence:
        from talkhead.media.png_sequence import check_sequence

        check_sequence(output, overwrite=overwrite)
        return
    check_output(output, overwrite=overwrite)
    check_video_name(output, CONTAINERS)


def is_written(output: Path) -> bool:
    """Return whether an output exists: a file, or the first picture of a sequence."""
    container = container_of(output)
    if container is not None and container.is_sequence and output.name.count("%") == 1:
        try:
            return output.with_name(output.name % 1).is_file()
        except (TypeError, ValueError):  # not a place for a number
            return False
    return output.is_file()


def container_for(output: Path, output_format: str) -> Container | None:
    """Return the container of an output; None for raw frames.

    Raises:
        TalkheadError: the format is unknown, or is given for a file.
    """
    if output_format not in FORMATS:
        raise TalkheadError(f"format must be {' or '.join(FORMATS)}, not {output_format!r}")
    if output == STDOUT:
        return None if output_format == RAW_FORMAT else MP4
    if output_format != MP4_FORMAT:
        raise TalkheadError(f"raw frames go to stdout, not to {output}: name - as the output")
    return check_video_name(output, CONTAINERS)


def open_writer(
    checked: CheckedJob,
    target: Path | IO[bytes],
    *,
    size: tuple[int, int],
    note: Mapping[str, str] | None,
    seal: Callable[[Path, Path], None] | None,
    voices: Sequence[Voice] = (),
    background: BackgroundSound | None = None,
) -> VideoWriter | PngSequenceWriter | RawFrameWriter:
    """Return what writes the frames of a job.

    Args:
        checked: the job.
        target: the file or stream.
        size: (width, height) of the frames.
        note: says that the video is synthetic.
        seal: signs the file.
        voices: several sounds to mix.
        background: an old sound to mix under them.

    Raises:
        TalkheadError: the output cannot be written.
    """
    job = checked.job
    if not isinstance(target, Path) and checked.container is None:
        from talkhead.media.raw_frames import RawFrameWriter

        return RawFrameWriter(target)
    if isinstance(target, Path) and checked.container is not None and checked.container.is_sequence:
        from talkhead.media.png_sequence import PngSequenceWriter

        return PngSequenceWriter(
            target, size=size, notes=note, overwrite=job.overwrite, has_alpha=checked.has_alpha
        )
    from talkhead.media.video import VideoWriter

    keeps = isinstance(target, Path) and checked.container is not None and checked.container.voice
    return VideoWriter(
        target,
        size=size,
        fps=checked.fps,
        sound=job.audio,
        crf=job.crf,
        metadata=note,
        overwrite=job.overwrite,
        seal=seal,
        sound_track=checked.tracks.voice,
        background=background,
        kept=checked.kept if keeps else None,
        has_alpha=checked.has_alpha,
        voices=voices,
    )
