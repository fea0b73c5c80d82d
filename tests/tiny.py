"""A complete folder of tiny weights (real, untrained networks), and voices to drive them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.audio2landmarks import emotion_classifier as emotion
from talkhead.audio2landmarks import generator as landmarks
from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, NUM_POINTS, RIGHT_MOUTH_CORNER
from talkhead.landmarks2video import autoencoder, denoiser
from talkhead.landmarks2video.mask_noise import video_denoiser
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from talkhead.networks import save_checkpoint
from tests.meshes import hand_made_basis


def write_tiny_weights(folder: Path) -> Path:
    """Write autoencoder, denoiser and landmark generator in the layout of `--weights FOLDER`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models: dict[str, tuple[nn.Module, object]] = {
            "autoencoder": (tiny_autoencoder(), autoencoder.TINY),
            "denoiser": (tiny_denoiser(), denoiser.TINY),
            "landmarks": (tiny_generator(), landmarks.TINY),
        }
    for name, (model, config) in models.items():
        save_checkpoint(folder / name, architecture=name, config=config, state=model.state_dict())
    return folder


def write_tiny_mask_noise(folder: Path) -> Path:
    """Write emotion classifier, landmark generator and video denoiser in the same layout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models: dict[str, tuple[nn.Module, object]] = {
            "emotion": (emotion.EmotionClassifier(emotion.TINY), emotion.TINY),
            "landmarks": (tiny_generator(), landmarks.TINY),
            "video-denoiser": (tiny_video_denoiser(), video_denoiser.TINY),
        }
    for name, (model, config) in models.items():
        save_checkpoint(folder / name, architecture=name, config=config, state=model.state_dict())
    return folder


def tiny_video_denoiser() -> video_denoiser.VideoDenoiser:
    """Return a video denoiser with no idle layers, whose happy faces have wide mouths."""
    model = video_denoiser.VideoDenoiser(video_denoiser.TINY)
    for parameter in model.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    corners = torch.zeros(NUM_POINTS)
    corners[RIGHT_MOUTH_CORNER], corners[LEFT_MOUTH_CORNER] = -0.1, 0.1
    model.expressions[EMOTIONS.index("happy"), :, 0] = corners
    model.shown.fill_(1)
    model.shown[EMOTIONS.index("contempt")] = 0
    return model


def tiny_autoencoder() -> autoencoder.Autoencoder:
    """Return an autoencoder that keeps each patch's mean colour and brightness gradient."""
    model = autoencoder.Autoencoder(autoencoder.TINY)
    model.set_linear_path(torch.zeros(3 * 64), smooth_components(8), 8.0)
    return model


def tiny_denoiser() -> denoiser.Denoiser:
    """Return an untrained denoiser that changes its input slightly."""
    model = denoiser.Denoiser(denoiser.TINY)
    nn.init.normal_(model.conv_out.weight, std=0.02)
    return model


def tiny_generator() -> landmarks.LandmarkGenerator:
    """Return a generator whose coefficients follow the audio, at about one standard deviation."""
    model = landmarks.LandmarkGenerator(landmarks.TINY)
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
