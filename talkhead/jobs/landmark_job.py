"""Landmark jobs: predict the motion of a face from speech, write it as a track, and draw it."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.jobs.pose_source import Progress
from talkhead.media.sizes import SizeLimit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from talkhead.audio2landmarks.animation import MotionOptions
    from talkhead.audio2landmarks.generator import LandmarkGenerator
    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.video import VideoWriter

    Floats = npt.NDArray[np.float32]
    Pixels = npt.NDArray[np.uint8]

DEFAULT_SIDE_PX = 512
"""Side of the blank picture that a track is for if no face is given."""
PREVIEW_SIDE_PX = 720
"""Larger previews are scaled down to this."""


@dataclass(frozen=True)
class Identity:
    """The face to move.

    Attributes:
        mesh: (478, 3), in pixels of the picture.
        picture: uint8 (H, W, 3).
        detector: name of the detector.
        original_size: width and height of the file, before any scaling down.
    """

    mesh: Floats
    picture: Pixels
    detector: str
    original_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.picture.shape[1], self.picture.shape[0]


@dataclass(frozen=True)
class Motion:
    """The meshes to write, one per frame, and the pictures that they belong to."""

    rate: Fraction
    size: tuple[int, int]
    detector: str
    num_frames: int
    frames: Iterator[Floats]
    pictures: Iterator[Pixels]
    sound: Path | None
    facts: dict[str, Any] = field(default_factory=dict)
    """More facts: frames_without_face for a video; speech and silent for a sound."""
    sound_track: int | None = None
    """Which sound track of the file it is, from 0."""


def find_identity(face: Path | None, choose: str, limit: SizeLimit) -> Identity:
    """Return the face of a picture; without one, a mean face on white.

    Args:
        face: the picture.
        choose: which face, as for `choose_face`.
        limit: larger pictures are scaled down to fit.

    Raises:
        TalkheadError: the picture cannot be read.
        NoFaceError: it has no such face.
    """
    import numpy as np

    from talkhead.geometry.mesh import MEAN_FACE
    from talkhead.media.picture import read_picture
    from talkhead.tracking.face_detector import (
        DETECTOR_NAME,
        MAX_FACES,
        FaceDetector,
        choose_in_picture,
    )

    if face is None:
        side = DEFAULT_SIDE_PX
        mesh = MEAN_FACE * (side * 0.27)
        mesh[:, :2] += side / 2
        white = np.full((side, side, 3), 255, np.uint8)
        return Identity(mesh.astype(np.float32), white, DETECTOR_NAME, (side, side))
    picture = read_picture(face, limit=limit)
    with FaceDetector(max_faces=MAX_FACES) as detector:
        mesh = choose_in_picture(detector, picture.pixels, choose)
        return Identity(mesh, picture.pixels, detector.name, picture.original_size)


def predict_motion(
    generator: LandmarkGenerator,
    identity: Identity,
    clip: AudioClip,
    sound: Path,
    *,
    fps: Fraction,
    options: MotionOptions,
    progress: Progress,
    weights: Path,
    emotion: str | None = None,
) -> Motion:
    """Predict how a face moves that says a sound.

    Args:
        generator: the first stage.
        identity: the face.
        clip: the sound, decoded.
        sound: its file, which a preview repeats.
        fps: frames per second.
        options: head motion, strengths, blinks and seed.
        progress: passes the frames through as they are written.
        weights: folder with the emotions.
        emotion: the emotion to show; auto for that of the voice.

    Raises:
        TalkheadError: the sound cannot be read.
        WeightsError: the weights have no emotions.
    """
    from talkhead.audio2landmarks.animation import animate, predict_speech
    from talkhead.pipelines.loading import show_emotion

    speech = predict_speech(generator, clip, identity.mesh, fps)
    windows = animate(generator, identity.mesh, speech, options)
    if emotion is not None:
        windows = show_emotion(windows, weights, clip, emotion)
    flat = (points for window in windows for points in window)
    total = len(speech.coefficients)
    return Motion(
        rate=fps,
        size=identity.size,
        detector=identity.detector,
        num_frames=total,
        frames=iter(progress(flat, total)),
        pictures=itertools.repeat(identity.picture),
        sound=sound,
        facts=speech.facts(),
        sound_track=clip.track,
    )


def write_motion(
    motion: Motion, output: Path, preview: Path | None = None, *, overwrite: bool = False
) -> None:
    """Write a track, and draw it over the pictures.

    Args:
        motion: its frames are read once.
        output: the track, .npz or .json.
        preview: the video to draw; None for none.
        overwrite: whether an existing preview may be replaced.

    Raises:
        TalkheadError: a file cannot be written.
    """
    from talkhead.media.video import VideoWriter
    from talkhead.tracking.landmark_track import LandmarkTrack

    with ExitStack() as stack:
        for each in (motion.pictures, motion.frames):
            if isinstance(each, Generator):
                stack.enter_context(closing(each))
        frames = motion.frames
        if preview is not None:
            writer = VideoWriter(
                preview,
                size=_preview_size(motion.size),
                fps=motion.rate,
                sound=motion.sound,
                sound_track=motion.sound_track,
                overwrite=overwrite,
            )
            frames = _drawn(motion, stack.enter_context(writer))
        LandmarkTrack.write_windows(
            output,
            (points[None] for points in frames),
            motion.num_frames,
            motion.rate,
            motion.size,
            motion.detector,
        )


def _preview_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, PREVIEW_SIDE_PX / max(size))
    width, height = (max(2, round(side * scale / 2) * 2) for side in size)
    return width, height


def _drawn(motion: Motion, writer: VideoWriter) -> Iterator[Floats]:
    """Pass meshes through, drawing each one in the preview."""
    import numpy as np
    from PIL import Image

    from talkhead.geometry.drawing import draw_mesh

    small = _preview_size(motion.size)
    scale = np.array(small, np.float32) / np.array(motion.size, np.float32)
    last: tuple[Pixels, Pixels] | None = None
    for points, picture in zip(motion.frames, motion.pictures, strict=False):
        if last is None or last[0] is not picture:
            reduced = Image.fromarray(picture).resize(small, Image.Resampling.BILINEAR)
            last = picture, np.array(reduced)
        writer.write(draw_mesh(last[1], points[:, :2] * scale))
        yield points
