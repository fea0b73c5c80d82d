"""Pipelines of tiny, untrained networks, and voices to drive them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.expressions import Expressions
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.landmarks2video.sampling import default_scheduler
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.pipelines import MaskNoisePipeline, TalkheadPipeline
from tests.meshes import hand_made_basis

TINY_SPEECH: dict[str, Any] = {
    "conv_channels": (16,) * 7,
    "hidden_size": 32,
    "num_layers": 1,
    "num_heads": 2,
    "feedforward_size": 32,
    "dropout": 0.0,
}
TINY_LOG_MEL: dict[str, Any] = {"num_mel": 40, "hidden_size": 16, "dropout": 0.0}
TINY_WHISPER: dict[str, Any] = {
    "num_mel_bins": 80,
    "hidden_size": 24,
    "num_layers": 3,
    "num_heads": 2,
    "feedforward_size": 32,
    "max_features": 100,
    "averaged_layers": 2,
}
TINY_DUAL: dict[str, Any] = {
    "width": 16,
    "num_heads": 2,
    "num_layers": 1,
    "reach_frames": 4,
    "raw_channels": 8,
    "raw_hidden": 8,
    "kan_size": 16,
}
TINY_GENERATOR: dict[str, Any] = {
    "speech_encoder": TINY_SPEECH,
    "num_components": 4,
    "num_features": 2,
    "hidden_size": 16,
    "num_layers": 1,
    "dropout": 0.0,
}
TINY_AUTOENCODER: dict[str, Any] = {
    "latent_channels": 8,
    "width": 16,
    "fine_width": 16,
    "num_encoder_blocks": 1,
    "num_decoder_blocks": 1,
    "num_fine_blocks": 1,
}
TINY_DENOISER: dict[str, Any] = {
    "latent_channels": 8,
    "map_channels": 9,
    "widths": (16, 32),
    "num_blocks": (1, 1),
    "num_heads": 2,
    "residual_scale": 0.5,
    "registration_components": 4,
}
TINY_MOUTH_DENOISER: dict[str, Any] = {
    "latent_channels": 8,
    "widths": (16, 32),
    "num_blocks": (1, 1),
    "num_heads": 2,
    "sharpness": 0.75,
}
TINY_EMOTION_CLASSIFIER: dict[str, Any] = {
    "num_mel": 80,
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
    "kernel_size": 5,
    "dropout": 0.0,
}
TINY_VIDEO_DENOISER: dict[str, Any] = {
    "size_px": 32,
    "num_frames": 4,
    "widths": (8, 16),
    "embedding_size": 8,
    "residual_scale": 0.2,
    "registration_components": 4,
}


def write_tiny_weights(folder: Path) -> Path:
    """Write a pipeline of the default system, without the components for emotions."""
    tiny_pipeline().save_pretrained(folder)
    return folder


def write_tiny_mask_noise(folder: Path) -> Path:
    """Write a pipeline of the second system."""
    tiny_mask_noise_pipeline().save_pretrained(folder)
    return folder


def tiny_pipeline() -> TalkheadPipeline:
    """Return a pipeline of the default system, without the components for emotions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TalkheadPipeline(
            autoencoder=tiny_autoencoder(),
            denoiser=tiny_denoiser(),
            landmark_generator=tiny_generator(),
            scheduler=default_scheduler(),
        )


def tiny_mask_noise_pipeline() -> MaskNoisePipeline:
    """Return a pipeline of the second system."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MaskNoisePipeline(
            emotion_classifier=EmotionClassifier(**TINY_EMOTION_CLASSIFIER),
            landmark_generator=tiny_generator(),
            video_denoiser=tiny_video_denoiser(),
            expressions=tiny_expressions(),
            scheduler=default_scheduler("sample"),
        )


def tiny_video_denoiser() -> VideoDenoiser:
    """Return a video denoiser with no idle layers."""
    model = VideoDenoiser(**TINY_VIDEO_DENOISER)
    for parameter in model.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    return model


def tiny_expressions() -> Expressions:
    """Return expressions of which happy has a wide mouth, and contempt is unknown."""
    model = Expressions()
    happy = model.offsets[EMOTIONS.index("happy"), :, 0]
    happy[RIGHT_MOUTH_CORNER], happy[LEFT_MOUTH_CORNER] = -0.1, 0.1
    model.known.fill_(1)
    model.known[EMOTIONS.index("contempt")] = 0
    return model


def tiny_autoencoder() -> Autoencoder:
    """Return an autoencoder that keeps each patch's mean colour and brightness gradient."""
    model = Autoencoder(**TINY_AUTOENCODER)
    model.set_linear_path(torch.zeros(3 * 64), smooth_components(8), 8.0)
    return model


def tiny_denoiser() -> Denoiser:
    """Return an untrained denoiser that changes its input slightly."""
    model = Denoiser(**TINY_DENOISER)
    nn.init.normal_(model.conv_out.weight, std=0.02)
    return model


def tiny_mouth_denoiser() -> MouthDenoiser:
    """Return an untrained denoiser of mouths, with smooth components."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MouthDenoiser(**TINY_MOUTH_DENOISER).eval()
        nn.init.normal_(model.conv_out.weight, std=0.1)
    model.components.copy_(smooth_components(8))
    model.spread.fill_(4.0)
    return model


def tiny_generator() -> LandmarkGenerator:
    """Return a generator whose coefficients follow the audio, at about one standard deviation."""
    model = LandmarkGenerator(**TINY_GENERATOR)
    basis = hand_made_basis()
    with torch.no_grad():
        model.out.weight *= 12
        model.project.weight *= 3
        model.components.copy_(torch.from_numpy(basis.components))
        model.blink.copy_(torch.from_numpy(basis.blink))
        model.head.copy_(torch.eye(5) * torch.tensor([0.05, 0.02])[:, None, None])
        model.head_pace.copy_(torch.tensor([0.7, 0.12, 0.6]))
    return model


def smooth_components(count: int) -> Tensor:
    """Return orthonormal patches (count, 192) in `pixel_unshuffle` order, low frequencies first."""
    line = (torch.arange(8) - 3.5) / 4
    y, x = torch.meshgrid(line, line, indexing="ij")
    shapes = [torch.ones(8, 8), x, y, x * y, x * x, y * y]
    colours = [torch.tensor(colour) for colour in ((1.0, 1, 1), (1.0, 0, -1), (-1.0, 2, -1))]
    patches = [colour[:, None, None] * shape for shape in shapes for colour in colours]
    flat = torch.stack([patch.reshape(-1) for patch in patches[:count]])
    orthonormal, _ = torch.linalg.qr(flat.T)
    rows: Tensor = orthonormal.T.contiguous()
    return rows


def voice(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return noise in syllables, four per second, shape = (N,) at 16 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * 4 * time_s + rng.uniform(0, 6)), 0, 1)
    carrier = np.sin(2 * np.pi * rng.uniform(150, 250) * time_s) + rng.normal(size=len(time_s))
    return np.asarray(0.15 * syllables * carrier, np.float32)


def write_voice(path: Path, seconds: float, seed: int = 0) -> Path:
    """Write `voice` to a wav file."""
    write_waveform(path, voice(seconds, seed))
    return path


def level_of(path: Path) -> float:
    """Return the root mean square of a file's sound."""
    return float(np.sqrt(np.square(AudioClip.open(path).waveform()).mean()))


def write_noise(path: Path, seconds: float) -> Path:
    """Write steady noise without speech to a wav file."""
    count = round(seconds * SAMPLE_RATE_HZ)
    noise = 0.1 * np.random.default_rng(0).normal(size=count)
    write_waveform(path, noise.astype(np.float32))
    return path


def write_silence(path: Path, seconds: float) -> Path:
    """Write digital silence to a wav file."""
    write_waveform(path, np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32))
    return path
