"""The output of `TalkheadPipeline`, and its export to a video file."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from talkhead import __version__
from talkhead.errors import TalkheadError
from talkhead.media.containers import check_length, check_video_name
from talkhead.media.dub_tracks import choose_tracks, mix_voices, plan_dub
from talkhead.media.in_memory import sound_file
from talkhead.media.video import VideoWriter
from talkhead.provenance import NOTE_KEYS, public_name
from talkhead.tracking.landmark_track import LandmarkTrack

Pixels = npt.NDArray[np.uint8]
Sound = Path | npt.NDArray[np.float32]
Frames = Pixels | list[PIL.Image.Image] | Generator[Pixels, None, None]


@dataclasses.dataclass(frozen=True, eq=False)
class TalkheadPipelineOutput:
    """Output of `TalkheadPipeline`; fields can be read by index or name, as in diffusers."""

    frames: Frames
    """uint8 (T, H, W, 3), RGB; or T pictures; or a generator of T arrays (H, W, 3). Before a
    transparent background they are RGBA."""
    landmarks: LandmarkTrack | None
    """The landmarks behind the frames, to inspect, or to edit and pass back as `landmarks`. None
    with a generator, which does not keep them, and with several people."""
    fps: Fraction
    audio: Sound | dict[str, Sound]
    """The file, or the waveform, float32 (N,) or (N, channels); of several people, by face."""
    sampling_rate: int | None
    """Samples per second of a waveform; None for a file, which states its own rate."""
    num_frames: int
    """T."""
    size: tuple[int, int]
    """(W, H) of the frames."""
    seed: int
    weights: str
    """The name or folder that the networks were loaded from."""
    video: Path | None = None
    """The video that is dubbed; None for a picture."""
    audio_track: str | None = None
    """The sound track that was asked for."""
    is_transparent: bool = False
    """Whether the frames have an alpha."""

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(field.name for field in dataclasses.fields(self))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(key)
            return getattr(self, key)
        return self.to_tuple()[key]


def export_to_video(
    output: TalkheadPipelineOutput,
    path: str | Path,
    *,
    crf: int = 18,
    overwrite: bool = False,
    background_sound: float | None = None,
) -> Path:
    """Write frames and sound to a video, which appears complete or not at all.

    The name chooses the format; a GIF or WebP is short and has no sound. The metadata mark it as
    synthetic. Frames of a generator are written as they are rendered. A dubbed video keeps its
    other sound tracks, subtitles, chapters and metadata, with a warning if the file cannot hold
    some of them.

    Args:
        output: the output of a `TalkheadPipeline`.
        path: the file to write: .mp4, .m4v, .mkv, .webm, .mov, .gif or .webp.
        crf: quality, from 0 (lossless) to 51 (worst).
        overwrite: whether an existing file may be replaced.
        background_sound: keep the whole old sound of a dubbed video under the voice, lowered by
            this many dB.

    Returns:
        The path.

    Raises:
        TalkheadError: the file cannot be written, or some frames of a generator were already read.
    """
    path = Path(path)
    holds_sound = check_video_name(path).voice is not None
    check_length(path, float(output.num_frames / output.fps))
    width, height = (side - side % 2 for side in output.size)  # H.264 needs even sides
    weights = public_name(output.weights)
    made_by = f"talkhead {__version__}, weights {weights}, seed {output.seed}"
    with ExitStack() as stack:
        given = output.audio
        sounds = [
            each
            if isinstance(each, Path)
            else stack.enter_context(sound_file(each, output.sampling_rate or 0))
            for each in (given.values() if isinstance(given, dict) else [given])
        ]
        sound = sounds[0]
        tracks = choose_tracks(output.video, sound, output.audio_track, background_sound)
        voices, background = mix_voices(
            [(sound, tracks.voice), *((other, None) for other in sounds[1:])], tracks.background
        )
        kept = None
        if output.video is not None and holds_sound:
            duration_s = float(output.num_frames / output.fps)
            kept = plan_dub(output.video, sound, path, tracks, duration_s, NOTE_KEYS)
            if kept.left_out:
                losses = "; ".join(kept.left_out)
                warnings.warn(f"{path.name} cannot keep {losses} of {output.video}", stacklevel=2)
        writer = VideoWriter(
            path,
            size=(width, height),
            fps=output.fps,
            sound=sound,
            crf=crf,
            metadata={"comment": f"Synthetic: made by {made_by}"},
            overwrite=overwrite,
            sound_track=tracks.voice,
            background=background,
            kept=kept,
            voices=voices,
            has_alpha=output.is_transparent,
        )
        stack.enter_context(writer)
        num_written = 0
        for frame in _arrays(output.frames):
            writer.write(frame[:height, :width])
            num_written += 1
        if num_written < output.num_frames:
            raise TalkheadError(
                f"{path} would have {num_written} of {output.num_frames} frames, because the others"
                " were already read: run the pipeline again"
            )
    return path


def _arrays(frames: Frames) -> Iterator[Pixels]:
    for frame in frames:
        yield np.asarray(frame)
