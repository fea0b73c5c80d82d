"""Load the networks of both systems from checkpoint folders to a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier, EmotionConfig
from talkhead.audio2landmarks.generator import LandmarkGenerator, LandmarkGeneratorConfig
from talkhead.audio2landmarks.motion_networks import basis_of
from talkhead.errors import WeightsError
from talkhead.geometry.motion_basis import MotionBasis
from talkhead.landmarks2video.autoencoder import Autoencoder, AutoencoderConfig
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.denoiser import Denoiser, DenoiserConfig
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser, VideoDenoiserConfig
from talkhead.networks import load_model
from talkhead.weights.listing import VIDEO_DENOISER, parts_of


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
