"""Load the networks of both systems from checkpoint folders to a device."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from talkhead.checkpoint import load_model
from talkhead.errors import TalkheadError, WeightsError
from talkhead.face.motion import MotionBasis
from talkhead.face.natural import HeadStyle
from talkhead.face.registration import Registration
from talkhead.models.autoencoder import Autoencoder, AutoencoderConfig
from talkhead.models.denoiser import Denoiser, DenoiserConfig
from talkhead.models.emotion import EmotionClassifier, EmotionConfig
from talkhead.models.landmarks import LandmarkGenerator, LandmarkGeneratorConfig
from talkhead.models.video_denoiser import VideoDenoiser, VideoDenoiserConfig
from talkhead.weights.listing import VIDEO_DENOISER, parts_of

Floats = npt.NDArray[np.float32]

log = logging.getLogger(__name__)

BATCH_FRAMES = 8
"""Frames per network call."""


@dataclass
class BatchLimit:
    """Number of frames that fit in a device's memory at a time; lowered when it runs out."""

    num_frames: int = BATCH_FRAMES

    def lower(self, device: torch.device, error: torch.OutOfMemoryError) -> None:
        """Halve the limit, and log a warning.

        Raises:
            TalkheadError: a single frame does not fit.
        """
        if self.num_frames == 1:
            raise TalkheadError(
                f"{device} has too little memory for a single frame: close other programs that use"
                " it, or use the CPU"
            ) from error
        self.num_frames //= 2
        log.warning(
            "%s is out of memory: continuing with %d frames at a time", device, self.num_frames
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class Pipeline:
    """The networks of lgd, on one device."""

    autoencoder: Autoencoder
    denoiser: Denoiser
    generator: LandmarkGenerator
    basis: MotionBasis
    device: torch.device
    dtype: torch.dtype
    limit: BatchLimit = field(default_factory=BatchLimit)


@dataclass(frozen=True)
class MaskNoisePipeline:
    """The networks of mask-noise, on one device."""

    video_denoiser: VideoDenoiser
    emotion: EmotionClassifier
    generator: LandmarkGenerator
    basis: MotionBasis
    device: torch.device
    dtype: torch.dtype
    limit: BatchLimit


AnyPipeline = Pipeline | MaskNoisePipeline


def load_any_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> AnyPipeline:
    """Load the networks of a pipeline of either system from their sub-folders.

    Raises:
        talkhead.errors.WeightsError: something is missing, corrupt or does not fit.
    """
    parts = parts_of(folder)
    generator = load_generator(parts["landmarks"], device)
    basis = basis_of(generator)
    if VIDEO_DENOISER in parts:
        video = load_model(
            parts[VIDEO_DENOISER], VideoDenoiserConfig, VideoDenoiser, architecture=VIDEO_DENOISER
        )
        emotion = load_model(
            parts["emotion"], EmotionConfig, EmotionClassifier, architecture="emotion"
        )
        _settle(video, device)
        emotion.to(device).eval().requires_grad_(False)
        limit = BatchLimit(video.config.num_frames)
        return MaskNoisePipeline(video, emotion, generator, basis, device, dtype, limit)
    autoencoder = load_model(
        parts["autoencoder"], AutoencoderConfig, Autoencoder, architecture="autoencoder"
    )
    denoiser = load_model(parts["denoiser"], DenoiserConfig, Denoiser, architecture="denoiser")
    for model in (autoencoder, denoiser):
        _settle(model, device)
    return Pipeline(autoencoder, denoiser, generator, basis, device, dtype)


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """Load the networks of an lgd pipeline.

    Raises:
        talkhead.errors.WeightsError: as for `load_any_pipeline`, or the pipeline is not lgd.
    """
    pipeline = load_any_pipeline(folder, device, dtype)
    if not isinstance(pipeline, Pipeline):
        raise WeightsError(f"{folder} holds a mask-noise pipeline, but lgd is needed here")
    return pipeline


def _settle(model: torch.nn.Module, device: torch.device) -> None:
    model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def load_generator(folder: Path, device: torch.device) -> LandmarkGenerator:
    """Load only the landmark generator.

    Raises:
        talkhead.errors.WeightsError: it is missing, corrupt or does not fit.
    """
    generator = load_model(
        folder, LandmarkGeneratorConfig, LandmarkGenerator, architecture="landmarks"
    )
    return generator.to(device).eval().requires_grad_(False)


def basis_of(generator: LandmarkGenerator) -> MotionBasis:
    """Return the motion basis stored in a generator."""
    components, blink = generator.components.float().cpu(), generator.blink.float().cpu()
    return MotionBasis(components.numpy(), blink.numpy())


def head_style_of(generator: LandmarkGenerator) -> HeadStyle:
    """Return the head motion statistics of the clips that a generator was trained on."""
    slow, fast = generator.head.float().cpu().numpy()
    return HeadStyle(slow, fast, *generator.head_pace.float().tolist())


def registration_of(denoiser: Denoiser | VideoDenoiser) -> Registration:
    """Return the registration that a denoiser was trained with."""
    basis, weights = denoiser.registration_basis, denoiser.registration_weights
    return Registration(basis.float().cpu().numpy(), weights.float().cpu().numpy())
