"""The systems to score, baselines included: each turns one frame of a clip into its video.

The identity is the frame whose face is nearest to rest, as in a portrait. Landmarks are the clip's
own, or predicted from its audio, with the clip's head pose or a generated one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.animation import animate
from talkhead.audio2landmarks.audio2motion import LEAD_S, Speech, predict_motion, speech_features
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.loudness import normalise_speech
from talkhead.audio2landmarks.motion_networks import basis_of
from talkhead.audio2landmarks.speech_emotion import emotion_of, mask_unseen
from talkhead.data.clips import Clip, ClipInfo, read_clip
from talkhead.emotions import AUTO
from talkhead.errors import TalkheadError
from talkhead.evaluation.frames import BATCH_FRAMES as SCORED_FRAMES
from talkhead.evaluation.frames import MAX_LENGTH_DIFFERENCE
from talkhead.evaluation.scores import CEILING, IDENTITY, LOUDNESS, REAL, REST, TRUTH, WARP
from talkhead.geometry.crop import CROP_SIDE_PX, Crop
from talkhead.geometry.motion_basis import (
    MotionBasis,
    identity_at_rest,
    mouth_scale,
    opening_direction,
    proportions,
    rest_of_clip,
    separate_lips,
    speech_region,
)
from talkhead.geometry.pose import fit_head_pose, in_pose_of
from talkhead.landmarks2video.batching import BATCH_FRAMES
from talkhead.landmarks2video.composite import composite, prepare_canvas
from talkhead.landmarks2video.conditioning import draw_stage, warp_identity
from talkhead.landmarks2video.mask_noise.renderer import START_STEP
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX, lower_face
from talkhead.landmarks2video.renderer import render_frames
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines.networks import AnyPipeline, Pipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Pose = Literal["true", "natural", "still"]

LOUD_OPENING = 0.1
"""Jaw opening of the loudness baseline at the loudest sound, in eye distances."""


@dataclass(frozen=True)
class Case:
    """One clip to reproduce."""

    info: ClipInfo
    clip: Clip
    _spoken: dict[tuple[int, Pose, int], Floats] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def read(cls, data: Path, info: ClipInfo, *, frames: bool = True) -> Case:
        """Read a clip; raises TalkheadError if it is damaged."""
        return cls(info, read_clip(data, info.clip, frames=frames))

    @property
    def fps(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.info.fps)

    @cached_property
    def identity(self) -> int:
        """Index of the identity frame."""
        return identity_frame(self.clip.landmarks)

    @property
    def mesh(self) -> Floats:
        """Mesh of the identity, (478, 3), crop pixels."""
        return np.asarray(self.clip.landmarks[self.identity])

    @cached_property
    def waveform(self) -> Floats:
        """The audio, (N,), 16 kHz."""
        return self.clip.waveform_float()

    @cached_property
    def sound(self) -> AudioClip:
        """The audio, as the first stage takes it."""
        return AudioClip.from_samples(self.waveform, SAMPLE_RATE_HZ)

    def picture(self) -> Pixels:
        """The identity's picture, (256, 256, 3)."""
        return self.clip.frame(self.identity).copy()

    def frames(self) -> Iterator[Pixels]:
        """Yield the real frames, in batches for scoring."""
        for start in range(0, len(self.clip), SCORED_FRAMES):
            part = range(start, min(start + SCORED_FRAMES, len(self.clip)))
            yield np.stack([self.clip.frame(index) for index in part])


FrameMaker = Callable[[Case], Iterator[Pixels]]
"""Turns a clip into its frames, (T, 256, 256, 3) at a time."""


def identity_frame(landmarks: Floats) -> int:
    """Return the index of the frame, out of (T, 478, 3), whose face is nearest to rest."""
    rest, pose = rest_of_clip(landmarks)
    apart = np.linalg.norm(pose.to_face(landmarks) - rest, axis=-1) * speech_region()
    return int(apart.mean(1).argmin())


def hear(case: Case, generator: LandmarkGenerator) -> Speech:
    """Run the first stage on a clip's audio."""
    rest, _ = identity_at_rest(case.mesh, basis_of(generator))
    return predict_motion(generator, case.sound, proportions(rest), case.fps)


def spoken_points(
    case: Case, generator: LandmarkGenerator, speech: Speech, pose: Pose, seed: int
) -> Floats:
    """Return landmarks predicted from audio, (T, 478, 3), crop pixels.

    Args:
        case: the clip.
        generator: provides the motion basis and the head style.
        speech: from `hear`.
        pose: the clip's own, or a generated one with blinks and eyebrows.
        seed: random seed of the generated motion.
    """
    if pose == "true":
        basis = basis_of(generator)
        rest, _ = identity_at_rest(case.mesh, basis)
        return _posed(case, rest, basis, fitted(speech.coefficients, len(case.clip)))
    _, windows = animate(generator, case.mesh, speech, seed=seed, pose=pose)
    return fitted(np.concatenate(list(windows)), len(case.clip))


def landmark_baselines(
    case: Case, generator: LandmarkGenerator, speech: Speech
) -> Iterator[tuple[str, Floats]]:
    """Yield the name and landmarks of each baseline, in the clip's head pose."""
    basis = basis_of(generator)
    rest, _ = identity_at_rest(case.mesh, basis)
    opening = opening_direction(basis.components)
    jaw = opening / (opening @ opening)
    loudness = LOUD_OPENING * fitted(speech.activity[:, None], len(case.clip))
    yield LOUDNESS, _posed(case, rest, basis, loudness * jaw)
    yield REST, _posed(case, rest, basis, 0 * loudness * jaw)
    yield TRUTH, case.clip.landmarks


def _posed(case: Case, rest: Floats, basis: MotionBasis, coefficients: Floats) -> Floats:
    """Return meshes in the clip's head pose, given the face at rest, (478, 3)."""
    still = np.zeros(len(coefficients), np.float32)
    shapes = separate_lips(rest + basis.deform(coefficients, still, mouth_scale(rest)))
    return fit_head_pose(case.clip.landmarks, rest).to_picture(shapes)


def fitted(values: Floats, count: int) -> Floats:
    """Trim or extend a series (T, ...) by the frame or two that rounding may cause."""
    if abs(len(values) - count) > MAX_LENGTH_DIFFERENCE:
        raise TalkheadError(f"{len(values)} frames for a clip of {count}: prepare the clip again")
    missing = max(count - len(values), 0)
    return np.concatenate([values[:count], np.repeat(values[-1:], missing, axis=0)])


def frame_makers(
    pipelines: Mapping[str, AnyPipeline],
    *,
    from_sound: bool,
    pose: Pose = "true",
    steps: Iterable[int] = (1,),
    start_steps: Iterable[int] = (START_STEP,),
    emotion: str = AUTO,
    seed: int = 0,
) -> dict[str, FrameMaker]:
    """Return the frame makers of a stage by name: first the weights', then the baselines'.

    Args:
        pipelines: by display name.
        from_sound: predict the landmarks from audio instead of using the clip's own.
        pose: head pose of predicted landmarks.
        steps: numbers of sampling steps; each makes a system of its own.
        start_steps: where mask-noise starts sampling; each makes a system of its own.
        emotion: emotion of mask-noise with predicted landmarks; auto classifies the voice.
        seed: random seed.
    """
    steps, start_steps = list(steps), list(start_steps)
    makers: dict[str, FrameMaker] = {}
    for name, pipeline in pipelines.items():
        is_lgd = isinstance(pipeline, Pipeline)
        starts = start_steps[:1] if is_lgd else start_steps
        for count, start in product(steps, starts):
            label = f"{name}, {count} step{'s' if count > 1 else ''}" if len(steps) > 1 else name
            label += f" from {start}" if len(starts) > 1 else ""
            head = pose if from_sound else None
            makers[label] = _rendering(pipeline, count, start, emotion, seed, head)
    first = next(iter(pipelines.values()), None)
    coder = next((each for each in pipelines.values() if isinstance(each, Pipeline)), None)
    makers[WARP] = _warping(first.generator if first and from_sound else None, pose, seed)
    makers[IDENTITY] = _identity_repeated
    if coder is not None and not from_sound:
        makers[CEILING] = _coding(coder)
    makers[REAL] = Case.frames
    return makers


def _rendering(
    pipeline: AnyPipeline,
    num_steps: int,
    start_step: int,
    emotion: str,
    seed: int,
    pose: Pose | None,
) -> FrameMaker:
    def make(case: Case) -> Iterator[Pixels]:
        heard = None
        if isinstance(pipeline, Pipeline) and pipeline.denoiser.config.speech_channels:
            points, heard = in_pose_of(case.mesh, case.clip.landmarks), _heard(case, pipeline)
        else:
            points = _points_of(case, None if pose is None else pipeline.generator, pose, seed)
        parts = (points[k : k + BATCH_FRAMES] for k in range(0, len(points), BATCH_FRAMES))
        return render_frames(
            pipeline,
            case.picture(),
            case.mesh,
            parts,
            num_steps=num_steps,
            seed=seed,
            heard=heard,
            emotion=None if pose is None else _emotion_of(case, pipeline, emotion),
            start_step=start_step,
        )

    return make


def _emotion_of(case: Case, pipeline: AnyPipeline, name: str) -> Floats | None:
    """Return mask-noise's emotion with predicted landmarks: the named one, or the voice's.

    Real landmarks already carry an expression.
    """
    if isinstance(pipeline, Pipeline):
        return None
    emotion = emotion_of(pipeline.emotion, case.sound, name)
    return mask_unseen(pipeline.video_denoiser, emotion, name)


def _heard(case: Case, pipeline: Pipeline) -> Floats:
    """Return a clip's speech features, for a denoiser that takes speech instead of landmarks."""
    lead = np.zeros(round(LEAD_S * SAMPLE_RATE_HZ), np.float32)
    waveform = np.concatenate([lead, normalise_speech(case.waveform), lead])
    return speech_features(pipeline.generator, waveform, len(case.clip), float(case.fps))


def _points_of(
    case: Case, generator: LandmarkGenerator | None, pose: Pose | None, seed: int
) -> Floats:
    """Return the clip's own landmarks, or predicted ones, which are cached."""
    if generator is None:
        return case.clip.landmarks
    key = id(generator), pose or "true", seed
    if key not in case._spoken:
        speech = hear(case, generator)
        case._spoken[key] = spoken_points(case, generator, speech, key[1], seed)
    return case._spoken[key]


def _identity_repeated(case: Case) -> Iterator[Pixels]:
    picture = case.picture()[None]
    for _ in range(len(case.clip)):
        yield picture


def _warping(generator: LandmarkGenerator | None, pose: Pose, seed: int) -> FrameMaker:
    """Return a maker that warps the identity to the landmarks, without correction."""

    @torch.inference_mode()
    def make(case: Case) -> Iterator[Pixels]:
        points = _points_of(case, generator, pose, seed)
        middle = CROP_SIDE_PX / 2
        whole = Crop(middle, middle, float(CROP_SIDE_PX))
        canvas = prepare_canvas(case.picture(), case.mesh, torch.device("cpu"), whole)
        for start in range(0, len(points), BATCH_FRAMES):
            target = torch.from_numpy(points[start : start + BATCH_FRAMES])
            shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
            small = canvas.small.expand(len(target), -1, -1, -1)
            warped = lower_face(warp_identity(small, grid, maps))
            yield composite(canvas, shift, maps, target, warped, warped)

    return make


def _coding(pipeline: Pipeline) -> FrameMaker:
    """Return a maker that passes real lower faces through the autoencoder in float32."""

    @torch.inference_mode()
    def make(case: Case) -> Iterator[Pixels]:
        region = slice(TOP_PX, BOTTOM_PX), slice(LEFT_PX, RIGHT_PX)
        for frames in case.frames():
            image = torch.from_numpy(frames).permute(0, 3, 1, 2).to(pipeline.device) / 127.5 - 1
            latents = pipeline.autoencoder.encode(lower_face(image))
            made = (pipeline.autoencoder.decode(latents).clamp(-1, 1) + 1) * 127.5
            out = frames.copy()
            out[:, region[0], region[1]] = made.round().byte().permute(0, 2, 3, 1).cpu().numpy()
            yield out

    return make
