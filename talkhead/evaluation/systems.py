"""The systems to score, baselines included: each turns one frame of a clip into its video.

The identity is the frame whose face is nearest to rest, as in a portrait. Landmarks are the clip's
own, or predicted from its audio, with the clip's head pose or a generated one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from talkhead.audio2landmarks.animation import MotionOptions, animate
from talkhead.audio2landmarks.audio2motion import Speech, predict_motion
from talkhead.audio2landmarks.expressions import express
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.data.clips import Clip, ClipInfo, read_clip
from talkhead.emotions import one_hot
from talkhead.errors import TalkheadError
from talkhead.evaluation import ablations
from talkhead.evaluation.ablations import Part
from talkhead.evaluation.frames import BATCH_FRAMES as SCORED_FRAMES
from talkhead.evaluation.frames import MAX_LENGTH_DIFFERENCE, to_crop_size
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
from talkhead.geometry.pose import fit_head_pose
from talkhead.geometry.windows import split_windows
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.canvas import prepare_canvas
from talkhead.landmarks2video.composite import FrameLayers, composite
from talkhead.landmarks2video.conditioning import draw_stage, warp_lower_face
from talkhead.landmarks2video.region import BOTTOM_PX, LEFT_PX, RIGHT_PX, TOP_PX, lower_face
from talkhead.landmarks2video.renderer import render_frames
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines import FacePipeline
from talkhead.pipelines.stages import emotion_probabilities

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Pose = Literal["true", "natural", "still"]

LOUD_OPENING = 0.1
"""Jaw opening of the loudness baseline at the loudest sound, in eye distances."""


@dataclass(frozen=True)
class EvalClip:
    """One clip to reproduce."""

    info: ClipInfo
    clip: Clip
    _spoken: dict[tuple[int, Pose, int], Floats] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def read(
        cls, data: Path, info: ClipInfo, *, frames: bool = True, max_s: float | None = None
    ) -> EvalClip:
        """Read a clip, or its first `max_s` seconds; raises TalkheadError if it is damaged."""
        clip = read_clip(data, info.clip, frames=frames)
        if max_s is not None:
            clip = clip.beginning(round(max_s * Fraction(info.fps)), Fraction(info.fps))
        return cls(info, clip)

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
    def side_px(self) -> int:
        """Side of the frames, which have the size at which they are stored."""
        return len(self.clip.frame(0, None))

    @property
    def square(self) -> Crop:
        """A whole frame as a crop, to convert between crop pixels and those of the frame."""
        return Crop(self.side_px / 2, self.side_px / 2, float(self.side_px))

    @cached_property
    def waveform(self) -> Floats:
        """The audio, (N,), 16 kHz."""
        return self.clip.waveform_float()

    @cached_property
    def audio(self) -> AudioClip:
        """The audio, as the first stage takes it."""
        return AudioClip.from_samples(self.waveform, SAMPLE_RATE_HZ)

    def picture(self) -> Pixels:
        """The identity's picture, (S, S, 3)."""
        return self.clip.frame(self.identity, None).copy()

    def frames(self) -> Iterator[Pixels]:
        """Yield the real frames, (T, S, S, 3) at a time, in batches for scoring."""
        for start in range(0, len(self.clip), SCORED_FRAMES):
            part = range(start, min(start + SCORED_FRAMES, len(self.clip)))
            yield np.stack([self.clip.frame(index, self.side_px) for index in part])


@dataclass(frozen=True)
class FrameGenerator:
    """Turns a clip into its frames.

    Attributes:
        frames: yields the frames, (T, S, S, 3) at a time, S being the clip's `side_px`.
        landmarks: returns the faces that they show, (T, 478, 3), crop pixels; None for the clip's
            own.
        sound: returns what they say, (N,), 16 kHz; None for the clip's own.
    """

    frames: Callable[[EvalClip], Iterator[Pixels]]
    landmarks: Callable[[EvalClip], Floats] | None = None
    sound: Callable[[EvalClip], Floats] | None = None

    def __call__(self, eval_clip: EvalClip) -> Iterator[Pixels]:
        """Yield a clip's frames."""
        return self.frames(eval_clip)


def identity_frame(landmarks: Floats) -> int:
    """Return the index of the frame, out of (T, 478, 3), whose face is nearest to rest."""
    rest, pose = rest_of_clip(landmarks)
    apart = np.linalg.norm(pose.to_face(landmarks) - rest, axis=-1) * speech_region()
    return int(apart.mean(1).argmin())


def predict_speech_of(eval_clip: EvalClip, generator: LandmarkGenerator) -> Speech:
    """Run the first stage on a clip's audio."""
    rest, _ = identity_at_rest(eval_clip.mesh, generator.motion_basis())
    return predict_motion(generator, eval_clip.audio, proportions(rest), eval_clip.fps)


def spoken_points(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech, pose: Pose, seed: int
) -> Floats:
    """Return landmarks predicted from audio, (T, 478, 3), crop pixels.

    Args:
        eval_clip: the clip.
        generator: provides the motion basis and the head style.
        speech: from `predict_speech_of`.
        pose: the clip's own, or a generated one with blinks and eyebrows.
        seed: random seed of the generated motion.
    """
    if pose == "true":
        basis = generator.motion_basis()
        rest, _ = identity_at_rest(eval_clip.mesh, basis)
        return _posed(eval_clip, rest, basis, fitted(speech.coefficients, len(eval_clip.clip)))
    windows = animate(generator, eval_clip.mesh, speech, MotionOptions(pose, seed=seed))
    return fitted(np.concatenate(list(windows)), len(eval_clip.clip))


def landmark_baselines(
    eval_clip: EvalClip, generator: LandmarkGenerator, speech: Speech
) -> Iterator[tuple[str, Floats]]:
    """Yield the name and landmarks of each baseline, in the clip's head pose."""
    basis = generator.motion_basis()
    rest, _ = identity_at_rest(eval_clip.mesh, basis)
    opening = opening_direction(basis.components)
    jaw = opening / (opening @ opening)
    loudness = LOUD_OPENING * fitted(speech.activity[:, None], len(eval_clip.clip))
    yield LOUDNESS, _posed(eval_clip, rest, basis, loudness * jaw)
    yield REST, _posed(eval_clip, rest, basis, 0 * loudness * jaw)
    yield TRUTH, eval_clip.clip.landmarks


def _posed(eval_clip: EvalClip, rest: Floats, basis: MotionBasis, coefficients: Floats) -> Floats:
    """Return meshes in the clip's head pose, given the face at rest, (478, 3)."""
    still = np.zeros(len(coefficients), np.float32)
    shapes = separate_lips(rest + basis.deform(coefficients, still, mouth_scale(rest)))
    return fit_head_pose(eval_clip.clip.landmarks, rest).to_picture(shapes)


def fitted(values: Floats, count: int) -> Floats:
    """Trim or extend a series (T, ...) by the frame or two that rounding may cause."""
    if abs(len(values) - count) > MAX_LENGTH_DIFFERENCE:
        raise TalkheadError(f"{len(values)} frames for a clip of {count}: prepare the clip again")
    missing = max(count - len(values), 0)
    return np.concatenate([values[:count], np.repeat(values[-1:], missing, axis=0)])


def frame_generators(
    pipelines: Mapping[str, FacePipeline],
    *,
    from_sound: bool,
    pose: Pose = "true",
    steps: Iterable[int] = (1,),
    start_steps: Iterable[int | None] = (None,),
    emotion: str | None = None,
    without: Iterable[Part] = (),
    seed: int = 0,
) -> dict[str, FrameGenerator]:
    """Return the frame generators of a stage by name: first the weights', then the baselines'.

    Args:
        pipelines: by display name.
        from_sound: predict the landmarks from audio instead of using the clip's own.
        pose: head pose of predicted landmarks.
        steps: numbers of sampling steps; each makes a system of its own.
        start_steps: where sampling starts, for pipelines that have a choice; each makes a system of
            its own. None for their default.
        emotion: the emotion shown with predicted landmarks; auto classifies the voice, None is the
            pipeline's default. Real landmarks come with the emotion of the list.
        without: parts of mask-noise; each makes a system that lacks it.
        seed: random seed.
    """
    steps, start_steps, without = list(steps), list(start_steps), list(without)
    generators: dict[str, FrameGenerator] = {}
    for name, pipeline in pipelines.items():
        starts = start_steps if pipeline.system.has_start_step else [None]
        for count, start in product(steps, starts):
            label = label_of(name, count, steps)
            label += f" from {start}" if len(starts) > 1 else ""
            sampler = SamplerOptions(count, start, seed)
            given = pipeline, sampler, emotion, pose if from_sound else None
            generators[label] = _rendering(*given)
            if pipeline.system.has_start_step:
                for part in without:
                    generators[ablations.name_of(label, part)] = _rendering(*given, part)
    first = next(iter(pipelines.values()), None)
    generator = first.landmark_generator if first and from_sound else None
    generators[WARP] = _warping(generator, pose, seed)
    generators[IDENTITY] = repeated_identity()
    return generators | real_frame_generators({} if from_sound else pipelines)


def label_of(name: str, count: int, steps: Sequence[int]) -> str:
    """Name a system by its weights, and by its sampling steps if there are several numbers."""
    return f"{name}, {count} step{'s' if count > 1 else ''}" if len(steps) > 1 else name


def real_frame_generators(pipelines: Mapping[str, FacePipeline]) -> dict[str, FrameGenerator]:
    """Return the references: the autoencoder alone, if a pipeline has one, and the real video."""
    generators: dict[str, FrameGenerator] = {}
    for pipeline in pipelines.values():
        if "autoencoder" in pipeline.components and not generators:
            generators[CEILING] = _coding(pipeline.autoencoder, pipeline.device)
    return generators | {REAL: FrameGenerator(EvalClip.frames)}


def _rendering(
    pipeline: FacePipeline,
    sampler: SamplerOptions,
    emotion: str | None,
    pose: Pose | None,
    without: Part | None = None,
) -> FrameGenerator:
    def condition_of(eval_clip: EvalClip, probabilities: Floats | None) -> Floats | None:
        if without == "class":
            return None
        listed = eval_clip.info.emotion
        return one_hot(listed) if pose is None and listed else probabilities

    def probabilities_of(eval_clip: EvalClip) -> Floats | None:
        if pose is None:  # real landmarks already carry an expression
            return None
        return emotion_probabilities(pipeline, eval_clip.audio, emotion)

    def windows_of(eval_clip: EvalClip, probabilities: Floats | None) -> Iterator[Floats]:
        generator = None if pose is None else pipeline.landmark_generator
        windows = split_windows(_points_of(eval_clip, generator, pose, sampler.seed))
        if without == "landmarks":
            windows = ablations.moved(windows)
        if probabilities is None:
            return windows
        return express(windows, pipeline.expressions.shape_of(probabilities))

    def landmarks(eval_clip: EvalClip) -> Floats:
        return np.concatenate(list(windows_of(eval_clip, probabilities_of(eval_clip))))

    def frames(eval_clip: EvalClip) -> Iterator[Pixels]:
        probabilities = probabilities_of(eval_clip)
        windows = windows_of(eval_clip, probabilities)
        renderer = pipeline.renderer()
        return render_frames(
            ablations.without_masks(renderer) if without == "mask-noise" else renderer,
            eval_clip.picture(),
            eval_clip.square.to_picture(eval_clip.mesh),
            map(eval_clip.square.to_picture, windows),
            sampler,
            emotion=condition_of(eval_clip, probabilities),
        )

    return FrameGenerator(frames, None if pose is None else landmarks)


def _points_of(
    eval_clip: EvalClip, generator: LandmarkGenerator | None, pose: Pose | None, seed: int
) -> Floats:
    """Return the clip's own landmarks, or predicted ones, which are cached."""
    if generator is None:
        return eval_clip.clip.landmarks
    key = id(generator), pose or "true", seed
    if key not in eval_clip._spoken:
        speech = predict_speech_of(eval_clip, generator)
        eval_clip._spoken[key] = spoken_points(eval_clip, generator, speech, key[1], seed)
    return eval_clip._spoken[key]


def repeated_identity() -> FrameGenerator:
    """Return the baseline that repeats the identity frame."""
    return FrameGenerator(_identity_repeated, _identity_landmarks)


def _identity_repeated(eval_clip: EvalClip) -> Iterator[Pixels]:
    picture = eval_clip.picture()[None]
    for _ in range(len(eval_clip.clip)):
        yield picture


def _identity_landmarks(eval_clip: EvalClip) -> Floats:
    return np.repeat(eval_clip.mesh[None], len(eval_clip.clip), 0)


def _warping(generator: LandmarkGenerator | None, pose: Pose, seed: int) -> FrameGenerator:
    """Return a maker that warps the identity to the landmarks, without correction."""

    def landmarks(eval_clip: EvalClip) -> Floats:
        return _points_of(eval_clip, generator, pose, seed)

    @torch.inference_mode()
    def generate(eval_clip: EvalClip) -> Iterator[Pixels]:
        points = landmarks(eval_clip)
        square = eval_clip.square
        mesh = square.to_picture(eval_clip.mesh)
        canvas = prepare_canvas(eval_clip.picture(), mesh, torch.device("cpu"), square)
        for window in split_windows(points):
            target = torch.from_numpy(window)
            shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
            small = canvas.small.expand(len(target), -1, -1, -1)
            warped = warp_lower_face(small, grid, maps)
            yield composite(canvas, FrameLayers(shift, maps, target, warped, warped))

    return FrameGenerator(generate, None if generator is None else landmarks)


def _coding(autoencoder: Autoencoder, device: torch.device) -> FrameGenerator:
    """Return a maker that passes real lower faces through the autoencoder in float32."""

    @torch.inference_mode()
    def generate(eval_clip: EvalClip) -> Iterator[Pixels]:
        ratio = eval_clip.side_px // CROP_SIDE_PX
        rows, columns = (
            slice(TOP_PX * ratio, BOTTOM_PX * ratio),
            slice(LEFT_PX * ratio, RIGHT_PX * ratio),
        )
        for frames in eval_clip.frames():
            small = torch.from_numpy(to_crop_size(frames)).permute(0, 3, 1, 2).to(device)
            latents = autoencoder.encode(lower_face(small / 127.5 - 1))
            decoded = (autoencoder.decode(latents).clamp(-1, 1) + 1) * 127.5
            if ratio > 1:  # enlarged as when compositing
                decoded = functional.interpolate(decoded, scale_factor=ratio, mode="bilinear")
            out = frames.copy()
            out[:, rows, columns] = decoded.round().byte().permute(0, 2, 3, 1).cpu().numpy()
            yield out

    return FrameGenerator(generate)
