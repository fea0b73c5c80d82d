"""Settings files for a few steps of tiny networks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import SpeechEncoder
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.networks import Network
from talkhead.training.loop import Task, train
from talkhead.training.records import Report
from talkhead.training.tasks import build_task
from tests.tiny import (
    TINY_AUTOENCODER,
    TINY_DENOISER,
    TINY_EMOTION_CLASSIFIER,
    TINY_GENERATOR,
    TINY_MOUTH_DENOISER,
    TINY_SPEECH,
    TINY_VIDEO_DENOISER,
)

WriteSettings = Callable[..., Path]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TENSORS = "checkpoint/diffusion_pytorch_model.safetensors"

TINY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "autoencoder": (TINY_AUTOENCODER, {"crop_px": 128}),
    "denoiser": (
        TINY_DENOISER,
        {"validation_frames": 2, "registration_pairs": 8, "adversarial_weight": 0.1},
    ),
    "emotion": (TINY_EMOTION_CLASSIFIER, {"window_s": 1.0}),
    "landmarks": (TINY_GENERATOR, {"window_frames": 16}),
    "mouth-denoiser": (
        TINY_MOUTH_DENOISER,
        {"per_clip": 2, "workers": 1, "adversarial_weight": 0.1, "validation_pairs": 3},
    ),
    "speech": (TINY_SPEECH, {"validation_samples": 2, "recorded_share": 0.5}),
    "video-denoiser": (
        TINY_VIDEO_DENOISER,
        {"validation_windows": 1, "registration_pairs": 8, "window_frames": 3},
    ),
}
"""The tables [model] and [task]."""
NETWORKS: dict[str, type[Network]] = {
    "autoencoder": Autoencoder,
    "denoiser": Denoiser,
    "emotion": EmotionClassifier,
    "landmarks": LandmarkGenerator,
    "mouth-denoiser": MouthDenoiser,
    "speech": SpeechEncoder,
    "video-denoiser": VideoDenoiser,
}


def as_toml(tables: dict[str, Any], prefix: str = "") -> str:
    """Write tables of numbers, strings, lists and tables; JSON values are valid TOML values."""
    lines = []
    for name, values in tables.items():
        lines.append(f"[{prefix}{name}]")
        nested = {key: value for key, value in values.items() if isinstance(value, dict)}
        plain = {k: v for k, v in values.items() if k not in nested and v is not None}
        lines += [f"{k} = {json.dumps(v)}" for k, v in plain.items()]
        lines.append(as_toml(nested, f"{prefix}{name}."))
    return "\n".join(lines)


def run_steps(name: str, path: Path, *, stop_after: int | None = None) -> list[Report]:
    """Train as the settings say, or until a step has been reported."""
    task, settings = build_task(name, path)
    reports = []
    running = train(task, settings.loop, settings.run, "cpu")
    for report in running:
        reports.append(report)
        if report.step == stop_after:
            running.close()
    return reports


def batch_of(task: Task, count: int) -> dict[str, torch.Tensor]:
    """Return the first samples of a task as a batch."""
    samples = [task.samples.sample(index) for index in range(count)]
    return {k: torch.stack([torch.as_tensor(s[k]) for s in samples]) for k in samples[0]}
