"""Clips dubbed with another stretch of their own motion, and the scores of their mouths.

Every frame gets the mouth of the frame half the clip later. So all motion is the person's own, but
there is no true frame to compare with: only the mouths are compared, as a set, with the clip's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.evaluation.mouth_patches import cut_mouths, join_patches
from talkhead.evaluation.mouth_scorer import MouthScorer
from talkhead.evaluation.scores import REAL
from talkhead.evaluation.systems import (
    EvalClip,
    FrameGenerator,
    label_of,
    real_frame_generators,
)
from talkhead.evaluation.video_scorer import FrameScores
from talkhead.geometry.motion_basis import MotionBasis, mouth_scale
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.dubbing import DubbedFace, Dubber, dub_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.pipelines import FacePipeline
from talkhead.tracking.face_track import FaceTrack, Stretch

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def dub_generators(
    pipelines: Mapping[str, FacePipeline], *, steps: Iterable[int] = (1,), seed: int = 0
) -> dict[str, FrameGenerator]:
    """Return the frame generators of the stage by name: the weights', then the references.

    Args:
        pipelines: by display name.
        steps: numbers of sampling steps; each makes a system of its own.
        seed: random seed.

    Raises:
        WeightsError: a pipeline cannot dub.
    """
    steps = list(steps)
    generators: dict[str, FrameGenerator] = {}
    for name, pipeline in pipelines.items():
        pipeline.system.check_request(dubs=True)
        for count in steps:
            sampler = SamplerOptions(count, seed=seed)
            generators[label_of(name, count, steps)] = _dubbing(pipeline, sampler)
    return generators | real_frame_generators(pipelines)


def _dubbing(pipeline: FacePipeline, sampler: SamplerOptions) -> FrameGenerator:
    basis = pipeline.landmark_generator.motion_basis()

    def landmarks(eval_clip: EvalClip) -> Floats:
        faces = dubbed_faces(track_of(eval_clip), basis)
        return eval_clip.square.to_crop(np.stack([face.target for face in faces]))

    def frames(eval_clip: EvalClip) -> Iterator[Pixels]:
        track = track_of(eval_clip)
        return edited_frames(pipeline, eval_clip, track, dubbed_faces(track, basis), sampler)

    return FrameGenerator(frames, landmarks)


def edited_frames(
    pipeline: FacePipeline,
    eval_clip: EvalClip,
    track: FaceTrack,
    faces: Iterable[DubbedFace | None],
    sampler: SamplerOptions,
) -> Iterator[Pixels]:
    """Yield a clip's frames, (1, S, S, 3), with one edit each.

    Args:
        pipeline: one that can dub.
        eval_clip: the clip.
        track: from `track_of`.
        faces: the edits.
        sampler: steps and seed.
    """
    renderer: Any = pipeline.renderer()
    reference = None
    if renderer.painter is not None:
        speaking = track.speaking_frame()
        picture = eval_clip.clip.frame(speaking, eval_clip.side_px)
        reference = renderer.painter.reference(picture[None], track.points_at(speaking)[None])
    own = (frame for batch in eval_clip.frames() for frame in batch)
    for frame in dub_frames(renderer, zip(own, faces, strict=True), sampler, reference):
        yield frame[None]


def track_of(eval_clip: EvalClip) -> FaceTrack:
    """Return a clip's face as a track of one stretch, in pixels of the stored frames."""
    count, side = len(eval_clip.clip), eval_clip.side_px
    points = eval_clip.square.to_picture(eval_clip.clip.landmarks)
    whole = Stretch(0, count, fades_in=False, fades_out=False)
    return FaceTrack(eval_clip.fps, (side, side), 1, [whole], "stored", points)


def dubbed_faces(track: FaceTrack, basis: MotionBasis) -> list[DubbedFace]:
    """Return the edits that give every frame the mouth of the frame half the track later.

    Args:
        track: a face that every frame shows.
        basis: speech motion basis, which carries the mouth from one frame to the other.
    """
    dubber = Dubber(track, basis)
    rest = dubber.rest(0)
    meshes = np.stack([track.points_at(frame) for frame in range(track.num_frames)])
    shapes = fit_head_pose(meshes, rest).to_face(meshes)
    coefficients = basis.project((shapes - rest) / np.float32(mouth_scale(rest)))
    later = np.roll(coefficients, -(track.num_frames // 2), axis=0)
    faces = (dubber.speak(frame, mouth) for frame, mouth in enumerate(later))
    return [face for face in faces if face is not None]


def score_mouths(
    eval_clip: EvalClip,
    videos: Mapping[str, Iterator[Pixels]],
    landmarks: Mapping[str, Floats | None],
) -> dict[str, FrameScores | TalkheadError]:
    """Score the mouths of several videos of one clip, without a true frame.

    Args:
        eval_clip: the clip.
        videos: by system, uint8 crops, (T, S, S, 3) in all, as many frames as the clip has.
        landmarks: by system, the faces in them, (T, 478, 3), crop pixels; None for the clip's own.

    Returns:
        The scores by system, or the error that prevented them.
    """
    own, parts, start = eval_clip.clip.landmarks, [], 0
    for frames in eval_clip.frames():
        parts.append(cut_mouths(frames, own[start : start + len(frames)], start))
        start += len(frames)
    real = join_patches(parts)
    results: dict[str, FrameScores | TalkheadError] = {}
    for system, video in videos.items():
        found = landmarks[system]
        points = own if found is None else found
        scorer = MouthScorer(shares_landmarks=False, with_real=system == REAL)
        try:
            frames = np.concatenate(list(video))
        except TalkheadError as error:
            results[system] = error
            continue
        if len(frames) != len(points):
            results[system] = TalkheadError(
                f"it has {len(frames)} frames, but the real clip has {len(points)}"
            )
            continue
        scorer.add(frames, points, real)
        values, arrays = scorer.finish()
        results[system] = FrameScores(values, points, arrays)
    return results
