"""Names of talkhead 0.2 that version 0.3 still has, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.animation import MotionOptions, animate, predict_speech
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.landmarks2video import renderer
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import DEFAULT_FPS
from talkhead.pipelines.talkhead_pipeline import TalkheadPipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

if TYPE_CHECKING:
    Pipeline = TalkheadPipeline


def __getattr__(name: str) -> Any:
    if name != "Pipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn("Pipeline", "TalkheadPipeline")
    return TalkheadPipeline


def warn(old: str, new: str) -> None:
    """Warn that a name will go."""
    warnings.warn(
        f"talkhead.{old} will be removed in version 0.4: use {new}",
        DeprecationWarning,
        stacklevel=3,
    )


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> TalkheadPipeline:
    """Load a pipeline; its `landmark_generator` is also its `generator`, as before."""
    warn("load_pipeline", "TalkheadPipeline.from_pretrained")
    pipeline = TalkheadPipeline.from_folder(folder, device=device, dtype=dtype)
    pipeline.generator = pipeline.landmark_generator
    return pipeline


def predict_landmarks(
    generator: LandmarkGenerator,
    audio: Path | AudioClip,
    identity: Floats,
    *,
    fps: Fraction = DEFAULT_FPS,
    **motion: Any,
) -> tuple[int, Iterator[Floats]]:
    """Return the number of frames, and windows of meshes, (T, 478, 3)."""
    warn("predict_landmarks", "talkhead.audio2landmarks.animation")
    clip = audio if isinstance(audio, AudioClip) else AudioClip.open(audio)
    speech = predict_speech(generator, clip, identity, fps)
    windows = animate(generator, identity, speech, MotionOptions(**motion))
    return len(speech.coefficients), windows


def render_frames(
    pipeline: TalkheadPipeline,
    picture: Pixels,
    identity: Floats,
    windows: Iterator[Floats],
    *,
    num_steps: int = 1,
    seed: int = 0,
) -> Generator[Pixels, None, None]:
    """Yield windows of frames, uint8 (T, H, W, 3)."""
    warn("render_frames", "talkhead.landmarks2video.renderer")
    options = SamplerOptions(num_steps, seed=seed)
    return renderer.render_frames(pipeline.renderer(), picture, identity, windows, options)
