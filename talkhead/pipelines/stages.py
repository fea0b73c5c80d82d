"""Join the two stages: landmarks from a voice, then frames of a picture or into a video."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks import animation
from talkhead.audio2landmarks.animation import MotionOptions, predict_speech
from talkhead.audio2landmarks.audio2motion import predict_motion
from talkhead.audio2landmarks.expressions import express
from talkhead.audio2landmarks.speech_emotion import emotion_of
from talkhead.emotions import EMOTIONS
from talkhead.errors import WeightsError
from talkhead.geometry.face_areas import Area, face_areas
from talkhead.geometry.motion_basis import proportions
from talkhead.geometry.windows import split_windows
from talkhead.landmarks2video.dubbing import DubbedFace, Dubber, dub_frames
from talkhead.landmarks2video.renderer import MovingFace, render_faces
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.playback import play
from talkhead.media.rates import num_frames
from talkhead.media.video import read_frames
from talkhead.tracking.background import Backdrop, cut_out
from talkhead.tracking.face_detector import (
    MAX_FACES,
    FaceDetector,
    choose_face,
    detect_faces,
)
from talkhead.tracking.face_track import FaceTrack
from talkhead.tracking.face_tracker import track_face
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.tracking.several_people import check_different

if TYPE_CHECKING:
    from talkhead.pipelines.base import FacePipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass
class Rendering:
    """Frames on their way, and what is known about them."""

    frames: Generator[Pixels, None, None]
    """uint8 (H, W, 3), one by one; (H, W, 4) for a picture with an alpha."""
    num_frames: int
    facts: dict[str, Any] = field(default_factory=dict)
    """For scripts: speech, silent, emotion; shots and missing faces of a video. The number of
    frames without a face is right once all frames were read."""


@dataclass(frozen=True)
class PictureFace:
    """A face in a picture."""

    picture: Pixels
    """uint8 (H, W, 3)."""
    identity: Floats
    """(478, 3), its mesh, pixels."""
    detector: str = ""
    """Name of the detector."""
    alpha: Pixels | None = None
    """uint8 (H, W), how much of each pixel is the person; the frames then have an alpha, too."""
    area: Area | None = None
    """The part of the picture that may change, which keeps other faces still; None for all."""

    @classmethod
    def find(cls, picture: Pixels, choose: str) -> PictureFace:
        """Find a face.

        Raises:
            NoFaceError: the chosen face does not exist.
        """
        return cls.find_all(picture, [choose])[0]

    @classmethod
    def find_all(cls, picture: Pixels, choices: Sequence[str]) -> list[PictureFace]:
        """Find one face for each choice.

        Raises:
            NoFaceError: a chosen face does not exist.
            TalkheadError: two choices are the same face.
        """
        size = (picture.shape[1], picture.shape[0])
        with FaceDetector(max_faces=MAX_FACES) as detector:
            faces = detect_faces(detector, picture, choices)
            name = detector.name
        areas = face_areas(faces, size) if len(faces) > 1 else [None]
        chosen = [choose_face(faces, choice, size) for choice in choices]
        check_different(chosen, choices, len(faces))
        numbers = [next(n for n, face in enumerate(faces) if face is one) for one in chosen]
        return [cls(picture, faces[number], name, area=areas[number]) for number in numbers]


@dataclass(frozen=True)
class VideoFace:
    """A face in a video, followed through its frames."""

    video: Path
    faces: FaceTrack
    """At the rate of the result."""
    loop: str
    """What to do when the video is shorter than the recording, as for `play`."""

    @classmethod
    def find(
        cls,
        video: Path,
        fps: Fraction,
        choose: str,
        loop: str,
        progress: Callable[[Iterable[Pixels], int | None], Iterable[Pixels]] | None = None,
    ) -> VideoFace:
        """Follow a face.

        Raises:
            NoFaceError: no frame shows a face that can be dubbed.
            TalkheadError: the video cannot be read, or no frame shows the chosen face.
        """
        options = {} if progress is None else {"progress": progress}
        return cls(video, track_face(video, fps, choose, **options), loop)


Faces = list[PictureFace] | list[VideoFace]


def cut_out_faces(faces: Faces, backdrop: Backdrop) -> Faces:
    """Cut the people out of the picture that faces share; a video's frames are cut by `place`.

    Raises:
        TalkheadError: no person is found, or mediapipe cannot find people.
    """
    pictures = [face for face in faces if isinstance(face, PictureFace)]
    if not pictures:
        return faces
    picture, alpha = cut_out(pictures[0].picture, backdrop)
    return [replace(face, picture=picture, alpha=alpha) for face in pictures]


def render_face(
    pipeline: FacePipeline,
    face: PictureFace | VideoFace,
    audio: AudioClip,
    *,
    fps: Fraction,
    track: LandmarkTrack | None = None,
    motion: MotionOptions | None = None,
    sampler: SamplerOptions | None = None,
    emotion: str | None = None,
    windows_seen: list[Floats] | None = None,
) -> Rendering:
    """Animate a picture or dub a video: see `animate` and `dub`.

    Raises:
        TalkheadError: the emotion is unknown.
        WeightsError: the pipeline cannot do it.
    """
    if isinstance(face, VideoFace):
        return dub(pipeline, face, audio, fps=fps, track=track, motion=motion, sampler=sampler)
    return animate(
        pipeline,
        face,
        audio,
        fps=fps,
        track=track,
        motion=motion,
        sampler=sampler,
        emotion=emotion,
        windows_seen=windows_seen,
    )


def animate(
    pipeline: FacePipeline,
    face: PictureFace,
    audio: AudioClip,
    *,
    fps: Fraction,
    track: LandmarkTrack | None = None,
    motion: MotionOptions | None = None,
    sampler: SamplerOptions | None = None,
    emotion: str | None = None,
    windows_seen: list[Floats] | None = None,
) -> Rendering:
    """Animate a picture.

    Args:
        pipeline: either system.
        face: from `PictureFace.find`.
        audio: the recording.
        fps: frames per second.
        track: landmarks to follow as they are, in place of predicted ones; the last frame is held.
        motion: head motion, strengths, blinks, seed.
        sampler: steps and seed.
        emotion: name of the emotion to show; auto for that of the voice, None for the system's
            default.
        windows_seen: gets the meshes of every window.

    Raises:
        TalkheadError: the emotion is unknown.
        WeightsError: the weights do not have the emotion.
    """
    moving, total, facts = move_face(
        pipeline,
        face,
        audio,
        fps=fps,
        track=track,
        motion=motion,
        sampler=sampler,
        emotion=emotion,
    )
    if windows_seen is not None:
        moving = replace(moving, windows=_noted(moving.windows, windows_seen))
    frames = render_faces(pipeline.renderer(), face.picture, [moving], alpha=face.alpha)
    return Rendering(one_by_one(frames), total, facts)


def move_face(
    pipeline: FacePipeline,
    face: PictureFace,
    audio: AudioClip,
    *,
    fps: Fraction,
    track: LandmarkTrack | None = None,
    motion: MotionOptions | None = None,
    sampler: SamplerOptions | None = None,
    emotion: str | None = None,
    least_frames: int = 0,
) -> tuple[MovingFace, int, dict[str, Any]]:
    """Predict how a face in a picture moves; errors as for `animate`.

    Args:
        pipeline: either system.
        face: from `PictureFace.find`.
        audio: the recording.
        fps: frames per second.
        track: as for `animate`.
        motion: head motion, strengths, blinks, seed.
        sampler: steps and seed.
        emotion: as for `animate`.
        least_frames: number of frames, if that is more than the recording has; the face is at rest
            when the recording has ended.

    Returns:
        The face and its meshes, the number of frames, and facts for `Rendering`.
    """
    facts: dict[str, Any] = {}
    if track is not None:
        total = num_frames(audio.duration_s, fps)
        windows = split_windows(track.resample(fps, total).points)
    else:
        speech = predict_speech(pipeline.landmark_generator, audio, face.identity, fps)
        facts |= speech.facts()
        speech = speech.lasting(least_frames)
        total = len(speech.coefficients)
        windows = animation.animate(pipeline.landmark_generator, face.identity, speech, motion)
    probabilities = emotion_probabilities(pipeline, audio, emotion)
    if probabilities is not None:
        facts["emotion"] = EMOTIONS[int(probabilities.argmax())]
        if track is None:
            windows = express(windows, pipeline.expressions.shape_of(probabilities))
    options = sampler or SamplerOptions()
    return MovingFace(face.identity, windows, options, probabilities, face.area), total, facts


def emotion_probabilities(
    pipeline: FacePipeline, audio: AudioClip, emotion: str | None
) -> Floats | None:
    """Return the probabilities of the emotions to show, (8,); None to leave the face as it is.

    Args:
        pipeline: either system.
        audio: the recording.
        emotion: a name; auto for the voice's, None for the system's default.

    Raises:
        TalkheadError: the emotion is unknown.
        WeightsError: the weights do not have the emotion.
    """
    name = pipeline.system.default_emotion if emotion is None else emotion
    if name is None:
        return None
    if pipeline.emotion_classifier is None or pipeline.expressions is None:
        raise WeightsError("these weights have no emotions: leave the emotion out")
    found = emotion_of(pipeline.emotion_classifier, audio, name)
    masked: Floats = pipeline.expressions.mask_unknown(found, name)
    return masked


def dub(
    pipeline: FacePipeline,
    face: VideoFace,
    audio: AudioClip,
    *,
    fps: Fraction,
    track: LandmarkTrack | None = None,
    motion: MotionOptions | None = None,
    sampler: SamplerOptions | None = None,
) -> Rendering:
    """Dub a video.

    Args:
        pipeline: one that can dub.
        face: from `VideoFace.find`, at `fps`.
        audio: the recording.
        fps: frames per second.
        track: landmarks to follow, in place of predicted ones; the last frame is held.
        motion: its `expression_strength` scales the motion of the mouth.
        sampler: steps and seed.

    Raises:
        WeightsError: the pipeline cannot dub.
    """
    pipeline.system.check_request(dubs=True)
    renderer: Any = pipeline.renderer()
    strength = (motion or MotionOptions()).expression_strength
    generator, faces = pipeline.landmark_generator, face.faces
    total = num_frames(audio.duration_s, fps)
    playing = play(face.video, fps, faces.num_frames, total, face.loop, faces.size)
    dubber = Dubber(faces, generator.motion_basis(), strength)
    facts: dict[str, Any] = {
        "shots": faces.num_shots,
        "uncertain_shots": faces.num_uncertain,
        "frames_without_face": 0,
    }

    def edits() -> Iterator[Callable[[int], DubbedFace | None]]:
        """Yield one function per output frame; it maps a source frame's number to its edit."""
        if track is not None:
            for points in track.resample(fps, total).points:
                yield partial(dubber.follow, target=points)
        else:
            speech = predict_motion(generator, audio, proportions(dubber.rest(0)), fps)
            facts.update(speech.facts())
            for coefficients in speech.coefficients:
                yield partial(dubber.speak, coefficients=coefficients)

    def items() -> Iterator[tuple[Pixels, DubbedFace | None]]:
        with closing(playing):
            for (frame, pixels), edit in zip(playing, edits(), strict=True):
                dubbed = edit(frame)
                facts["frames_without_face"] += dubbed is None
                yield pixels, dubbed

    reference = speaking_mouth(renderer, face, fps)
    return Rendering(dub_frames(renderer, items(), sampler, reference), total, facts)


def speaking_mouth(renderer: Any, face: VideoFace, fps: Fraction) -> Any:
    """Return the mouth that a video shows opened, for the painter; None without a painter."""
    if renderer.painter is None:
        return None
    frame = face.faces.speaking_frame()
    start_s, length_s = float(frame / fps), float(1 / fps)
    with closing(
        read_frames(face.video, fps=fps, start_s=start_s, duration_s=length_s, size=face.faces.size)
    ) as frames:
        picture = next(frames)
    return renderer.painter.reference(picture[None], face.faces.points_at(frame)[None])


def _noted(windows: Iterator[Floats], seen: list[Floats]) -> Iterator[Floats]:
    for points in windows:
        seen.append(points)
        yield points


def one_by_one(windows: Generator[Pixels, None, None]) -> Generator[Pixels, None, None]:
    """Yield the frames of windows."""
    with closing(windows):
        for window in windows:
            yield from window
