"""Emotion-conditioned video denoiser: a 3D U-Net over windows of frames, for mask-noise rendering.

The input is the noisy frames together with the identity, with and without mask-noise; the output is
the clean frames. Each convolution over time and space is split into a spatial one and one over the
previous and next frame, which is several times cheaper on a CPU.

Source: Vo et al., "Individual audio-driven talking head generation based on sequence of landmark":
four levels of 32 to 256 channels, with embeddings of step and emotion concatenated. The original
predicts the noise in the frame; this version predicts the difference between the frame and the
identity, which preserves light and colours. For that it must also see what the mask-noise hides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES
from talkhead.landmarks2video.denoiser import zero_layer
from talkhead.landmarks2video.diffusion import time_angles
from talkhead.landmarks2video.mask_noise.mask import MaskNoiseConfig

NUM_STEPS = 1000
"""Diffusion steps of the paper; `start_step` counts in these."""
_PATCH = 2
_RGB = 3
_GROUPS = 8
_MAX_FRAMES = 256


@dataclass(frozen=True)
class VideoDenoiserConfig:
    """Sizes and inputs of the U-Net."""

    size_px: int
    """Side of the generated crops."""
    num_frames: int
    """Frames per window."""
    widths: tuple[int, ...]
    """Channels per level; each level halves the resolution."""
    embedding_size: int
    """Size of the step embedding and of the emotion embedding."""
    residual_scale: float
    """Standard deviation of the residual (frame minus base), by which it is divided; 0 to measure
    it."""
    base: Literal["identity", "warp"] = "warp"
    """The frame that is masked and corrected: the identity frame, as in the paper, or that frame
    warped to the landmarks."""
    registration_components: int = 40
    """Number of deformations used by the skin registration."""
    mask: MaskNoiseConfig = field(default_factory=MaskNoiseConfig)


COMPACT = VideoDenoiserConfig(
    size_px=128, num_frames=16, widths=(32, 64, 128, 256), embedding_size=64, residual_scale=0.0
)
TINY = VideoDenoiserConfig(
    size_px=32,
    num_frames=4,
    widths=(8, 16),
    embedding_size=8,
    residual_scale=0.2,
    registration_components=4,
)


class _Block(nn.Module):
    """Residual block: space, time, space; scaled and shifted by the step and the emotion."""

    def __init__(self, channels_in: int, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.over_time = nn.Conv2d(3 * channels, channels, 1)
        self.film = nn.Linear(condition, 2 * channels)
        self.mid_norm = nn.GroupNorm(_GROUPS, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        for layer in (self.over_time, self.film, self.conv_out):
            zero_layer(layer)

    def forward(self, x: Tensor, condition: Tensor, num_frames: int) -> Tensor:
        """Map (B * T, C, h, w) under conditions (B * T, E)."""
        y = self.conv_in(functional.relu(self.norm(x)))
        y = y + self.over_time(functional.relu(_neighbours(y, num_frames)))
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        y = self.mid_norm(y) * (1 + scale) + shift
        return self.skip(x) + self.conv_out(functional.relu(y))  # type: ignore[no-any-return]


def _check(config: VideoDenoiserConfig) -> None:
    """Raise ValueError unless the sizes are valid."""
    mask = config.mask
    if len(config.widths) < 2 or any(width % _GROUPS or not width for width in config.widths):
        raise ValueError(f"widths must be two or more multiples of {_GROUPS}")
    if config.size_px < 1 or config.size_px % (_PATCH * 2 ** (len(config.widths) - 1)):
        raise ValueError(
            f"size_px {config.size_px} must be a positive multiple of "
            f"{_PATCH * 2 ** (len(config.widths) - 1)}"
        )
    if config.embedding_size < 2 or config.embedding_size % 2:
        raise ValueError("embedding_size must be even and at least 2")
    if not 1 <= config.num_frames <= _MAX_FRAMES:
        raise ValueError(f"num_frames must be from 1 to {_MAX_FRAMES}")
    if not (mask.kernel_size % 2 and mask.kernel_size <= config.size_px and mask.sigma > 0):
        raise ValueError(
            "the mask's kernel_size must be odd and at most size_px, and its sigma above 0"
        )


def _neighbours(x: Tensor, num_frames: int) -> Tensor:
    """Stack the previous and next frame onto each frame, (B * T, C, ...) to (B * T, 3 C, ...)."""
    window = x.view(-1, num_frames, *x.shape[1:])
    before = torch.cat([window[:, :1], window[:, :-1]], 1)
    after = torch.cat([window[:, 1:], window[:, -1:]], 1)
    return torch.cat([before, window, after], 2).flatten(0, 1)


class VideoDenoiser(nn.Module):
    """The U-Net, and how faces differ by emotion.

    Buffers: `expressions` (8, 478, 3), what each emotion (MEAD's names) adds to the shape of a face
    that is upright and facing the camera, in units of the distance between its outer eye corners;
    `shown` (8,), 1 for the emotions in the training set; `registration_basis` (K, 478, 3) and
    `registration_weights` (6 + K, 478, 2), the linear model applied to meshes first, see
    `talkhead.geometry.skin_registration`.
    """

    expressions: Tensor
    shown: Tensor
    registration_basis: Tensor
    registration_weights: Tensor

    def __init__(self, config: VideoDenoiserConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        widths, size = config.widths, config.embedding_size
        condition = 2 * size
        self.emotion = nn.Embedding(len(EMOTIONS), size)
        self.step = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        self.conv_in = nn.Conv2d(3 * _RGB * _PATCH**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _Block(widths[max(k - 1, 0)], width, condition) for k, width in enumerate(widths[:-1])
        )
        self.middle = _Block(widths[-2], widths[-1], condition)
        self.up = nn.ModuleList(
            _Block(widths[k + 1] + widths[k], widths[k], condition)
            for k in reversed(range(len(widths) - 1))
        )
        self.norm_out = nn.GroupNorm(_GROUPS, widths[0])
        self.conv_out = nn.Conv2d(widths[0], _RGB * _PATCH**2, 3, padding=1)
        zero_layer(self.conv_out)
        nn.init.zeros_(self.emotion.weight)
        self.register_buffer("expressions", torch.zeros(len(EMOTIONS), NUM_POINTS, 3))
        self.register_buffer("shown", torch.zeros(len(EMOTIONS)))
        count = config.registration_components
        self.register_buffer("registration_basis", torch.zeros(count, NUM_POINTS, 3))
        self.register_buffer(
            "registration_weights", torch.zeros(NUM_POSE_FEATURES + count, NUM_POINTS, 2)
        )

    @property
    def reach(self) -> int:
        """Distance in frames over which frames influence each other."""
        return 2 * len(self.down) + 1

    def forward(
        self, noisy: Tensor, time: Tensor, seen: Tensor, base: Tensor, emotion: Tensor
    ) -> Tensor:
        """Return the clean frames.

        Args:
            noisy: (B, T, 3, S, S).
            time: (B,), step over `NUM_STEPS`.
            seen: (B, T, 3, S, S) in [-1, 1], the base under mask-noise.
            base: (B, T, 3, S, S) in [-1, 1], the frames to correct, without noise.
            emotion: (B, 8), probabilities of the emotions.

        Returns:
            (B, T, 3, S, S).
        """
        num_frames = noisy.shape[1]
        step = self.step(_waves(time, self.config.embedding_size))
        feeling = emotion.to(step.dtype) @ self.emotion.weight.to(step.dtype)
        condition = torch.cat([step, feeling], -1).repeat_interleave(num_frames, 0)
        x = torch.cat([noisy.to(seen.dtype), seen, base], 2).flatten(0, 1)
        x = functional.pixel_unshuffle(x, _PATCH).contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x)
        kept = []
        for block in self.down:
            x = block(x, condition, num_frames)
            kept.append(x)
            x = functional.avg_pool2d(x, 2)
        x = self.middle(x, condition, num_frames)
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, kept.pop()], 1), condition, num_frames)
        x = self.conv_out(functional.relu(self.norm_out(x)))
        return functional.pixel_shuffle(x, _PATCH).view(noisy.shape)


def _waves(time: Tensor, size: int) -> Tensor:
    """Embed times (B,) in [0, 1] as sines and cosines, (B, size)."""
    angles = time_angles(time, size // 2)
    return torch.cat([angles.sin(), angles.cos()], -1)
