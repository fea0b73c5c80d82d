"""Several people in one picture or video, each of whom speaks a recording of their own.

Every face is found once and moves within its own area of the picture, so one pass makes the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from talkhead.audio2landmarks.animation import MotionOptions
from talkhead.audio2landmarks.audio2motion import predict_motion
from talkhead.geometry.face_areas import face_areas
from talkhead.geometry.motion_basis import proportions
from talkhead.landmarks2video.dubbing import DubbedFace, DubbedPerson, Dubber, dub_people
from talkhead.landmarks2video.renderer import render_faces
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.playback import play
from talkhead.media.rates import num_frames
from talkhead.pipelines.stages import (
    Faces,
    PictureFace,
    Rendering,
    VideoFace,
    move_face,
    one_by_one,
    speaking_mouth,
)
from talkhead.tracking.several_people import track_faces

if TYPE_CHECKING:
    from talkhead.pipelines.base import FacePipeline

Pixels = npt.NDArray[np.uint8]
SEEDS = 2**63


def find_speakers(
    source: Pixels | Path,
    choices: Sequence[str],
    *,
    fps: Fraction,
    loop: str,
    progress: Callable[[Iterable[Pixels], int | None], Iterable[Pixels]] | None = None,
) -> Faces:
    """Find the faces that speak.

    Args:
        source: a picture, uint8 (H, W, 3), or the path of a video.
        choices: which faces, as in `choose_face`.
        fps: frames per second.
        loop: what to do when a video is shorter than the recordings, as for `play`.
        progress: passes frames of a video through and reports progress.

    Raises:
        NoFaceError: a chosen face does not exist, or cannot be dubbed.
        TalkheadError: two choices are the same face, or the video cannot be read.
    """
    if not isinstance(source, Path):
        return PictureFace.find_all(source, choices)
    options = {} if progress is None else {"progress": progress}
    return [
        VideoFace(source, track, loop) for track in track_faces(source, fps, choices, **options)
    ]


def render_speakers(
    pipeline: FacePipeline,
    faces: Faces,
    clips: Sequence[AudioClip],
    *,
    fps: Fraction,
    motion: MotionOptions | None = None,
    sampler: SamplerOptions | None = None,
    emotion: str | None = None,
) -> Rendering:
    """Animate or dub several faces at once, for as long as the longest recording.

    A face whose recording has ended is at rest. Every face has a seed of its own, so that heads do
    not move alike: that of the first is the given one, and the next ones follow it.

    Args:
        pipeline: either system for a picture, one that can dub for a video.
        faces: from `find_speakers`.
        clips: the recordings, in the same order.
        fps: frames per second.
        motion: as for `animate` and `dub`, for all faces.
        sampler: steps and seed.
        emotion: as for `animate`, for all faces of a picture.

    Returns:
        The frames; the facts hold those of each face under ``speakers``.

    Raises:
        TalkheadError: the emotion is unknown.
        WeightsError: the pipeline cannot do it.
    """
    count = max(num_frames(clip.duration_s, fps) for clip in clips)
    motions = [
        replace(each, seed=_seed_of(each.seed, number))
        for number, each in enumerate([motion or MotionOptions()] * len(faces))
    ]
    samplers = [
        replace(each, seed=_seed_of(each.seed, number))
        for number, each in enumerate([sampler or SamplerOptions()] * len(faces))
    ]
    pictures = [face for face in faces if isinstance(face, PictureFace)]
    if not pictures:
        videos = [face for face in faces if isinstance(face, VideoFace)]
        return _dub(pipeline, videos, clips, fps, count, motions, samplers)
    moving, facts = [], []
    for face, clip, its_motion, its_sampler in zip(pictures, clips, motions, samplers, strict=True):
        moved, _, known = move_face(
            pipeline,
            face,
            clip,
            fps=fps,
            motion=its_motion,
            sampler=its_sampler,
            emotion=emotion,
            least_frames=count,
        )
        moving.append(moved)
        facts.append(known)
    first = pictures[0]
    frames = render_faces(pipeline.renderer(), first.picture, moving, alpha=first.alpha)
    return Rendering(one_by_one(frames), count, {"speakers": facts})


def _seed_of(seed: int, number: int) -> int:
    return (seed + number) % SEEDS


def _dub(
    pipeline: FacePipeline,
    faces: Sequence[VideoFace],
    clips: Sequence[AudioClip],
    fps: Fraction,
    count: int,
    motions: Sequence[MotionOptions],
    samplers: Sequence[SamplerOptions],
) -> Rendering:
    pipeline.system.check_request(dubs=True)
    renderer: Any = pipeline.renderer()
    generator, first = pipeline.landmark_generator, faces[0].faces
    basis = generator.motion_basis()
    playing = play(faces[0].video, fps, first.num_frames, count, faces[0].loop, first.size)
    dubbers = [
        Dubber(face.faces, basis, motion.expression_strength)
        for face, motion in zip(faces, motions, strict=True)
    ]
    speakers: list[dict[str, Any]] = [
        {"uncertain_shots": face.faces.num_uncertain, "frames_without_face": 0} for face in faces
    ]
    facts: dict[str, Any] = {
        "shots": first.num_shots,
        "frames_without_face": 0,
        "speakers": speakers,
    }

    def items() -> Iterator[tuple[Pixels, list[DubbedFace | None]]]:
        speeches = []
        for dubber, clip, known in zip(dubbers, clips, speakers, strict=True):
            speech = predict_motion(generator, clip, proportions(dubber.rest(0)), fps)
            known.update(speech.facts())
            speeches.append(speech.lasting(count))
        with closing(playing):
            for number, (frame, pixels) in enumerate(playing):
                edits = [
                    dubber.speak(frame, speech.coefficients[number])
                    for dubber, speech in zip(dubbers, speeches, strict=True)
                ]
                for edit, known in zip(edits, speakers, strict=True):
                    known["frames_without_face"] += edit is None
                facts["frames_without_face"] += any(edit is None for edit in edits)
                yield pixels, _divided(edits, first.size)

    people = [
        DubbedPerson(sampler, speaking_mouth(renderer, face, fps))
        for face, sampler in zip(faces, samplers, strict=True)
    ]
    return Rendering(dub_people(renderer, items(), people), count, facts)


def _divided(edits: list[DubbedFace | None], size: tuple[int, int]) -> list[DubbedFace | None]:
    """Keep each edit within its own area of the frame."""
    present = [edit for edit in edits if edit is not None]
    if len(present) < 2:
        return edits
    areas = iter(face_areas([edit.mesh for edit in present], size))
    return [None if edit is None else replace(edit, area=next(areas)) for edit in edits]
