"""A live job: a face and a source of sound in, one video or stream of frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from talkhead.errors import TalkheadError
from talkhead.media.sizes import DEFAULT_SIZE

if TYPE_CHECKING:
    from talkhead.media.live_source import LiveSource
    from talkhead.media.live_video import LiveWriter
    from talkhead.pipelines.base import FacePipeline
    from talkhead.pipelines.live_stream import FaceStream


@dataclass(frozen=True)
class LiveJob:
    """The arguments and options of `talkhead live`, under the same names."""

    face: Path
    weights: str = "default"
    """Name or folder, for the note in the video."""
    output_format: str = "mp4"
    pace: bool = True
    choose: str = "largest"
    pose: str = "natural"
    pose_strength: float = 1.0
    expression_strength: float = 1.0
    blink_per_minute: float = 16.0
    emotion: str | None = None
    loop: Literal["pingpong", "hold"] = "pingpong"
    fps: Fraction | None = None
    """None: the video's rate, or 25 for a picture."""
    steps: int = 1
    seed: int = 0
    crf: int = 18
    max_size: str = DEFAULT_SIZE
    provenance: bool = True


def live_job(
    job: LiveJob,
    pipeline: FacePipeline,
    source: LiveSource,
    target: Path | IO[bytes],
    folder: Path,
    on_frame: Callable[[int, bool], None] | None = None,
) -> dict[str, Any]:
    """Run a face on a source until its sound ends.

    Args:
        job: what to do.
        pipeline: the networks.
        source: the sound.
        target: a file, which is created when the first sound has come; or an open pipe.
        folder: the weights folder, whose digests go into the video's note.
        on_frame: as for `LiveLoop`.

    Returns:
        Facts for people and scripts: frames, dropped, filled_s, fps, width, height, seed, weights.

    Raises:
        TalkheadError: the sound or the face cannot be read, or the output cannot be written.
        NoFaceError: the chosen face does not exist.
        BrokenPipeError: the reader of the output has closed it.
    """
    from talkhead.jobs.live import LiveLoop
    from talkhead.jobs.live_clock import AHEAD_S

    stream = pipeline.stream(
        job.face,
        sampling_rate=source.format.rate_hz,
        fps=job.fps,
        seed=job.seed,
        num_inference_steps=job.steps,
        choose=job.choose,
        pose=job.pose,
        pose_strength=job.pose_strength,
        expression_strength=job.expression_strength,
        blink_per_minute=job.blink_per_minute,
        emotion=job.emotion,
        loop=job.loop,
        max_size=job.max_size,
    )
    with stream:
        source.wait_for_samples()
        if job.pace:
            source.skip_old(AHEAD_S)
        with _opened(target) as file, _writer(job, stream, source, file, folder) as writer:
            report = LiveLoop(source, stream, writer, pace=job.pace, on_frame=on_frame).run()
    width, height = stream.size
    return {
        "frames": report.frames,
        "dropped": report.dropped,
        "filled_s": round(report.filled_s, 3),
        "fps": str(stream.fps),
        "width": width - width % 2,
        "height": height - height % 2,
        "seed": job.seed,
        "weights": job.weights,
    }


@contextmanager
def _opened(target: Path | IO[bytes]) -> Iterator[IO[bytes]]:
    if not isinstance(target, Path):
        yield target
        return
    try:
        file = target.open("wb")
    except OSError as error:
        raise TalkheadError(f"{target} cannot be written ({error.strerror})") from error
    with file:
        yield file


def _writer(
    job: LiveJob, stream: FaceStream, source: LiveSource, target: IO[bytes], folder: Path
) -> LiveWriter:
    from talkhead.media.live_video import EncodedWriter, RgbWriter
    from talkhead.provenance import provenance_note, weights_digests

    if job.output_format == "rgb24":
        return RgbWriter(target)
    note = None
    if job.provenance and job.output_format == "mp4":
        digests = weights_digests(folder)
        note = provenance_note(
            job.face, None, weights_name=job.weights, digests=digests, seed=job.seed
        )
    width, height = stream.size
    return EncodedWriter(
        target,
        output_format=job.output_format,
        size=(width - width % 2, height - height % 2),
        fps=stream.fps,
        rate_hz=source.format.rate_hz,
        num_channels=source.format.num_channels,
        crf=job.crf,
        metadata=note,
    )
