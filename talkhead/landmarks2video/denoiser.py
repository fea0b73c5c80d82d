"""Residual latent denoiser: a U-Net that corrects the warped identity where the warp is wrong.

It diffuses the difference between the true latents and those of the warped identity. With a zero
output the frame is the warp itself, which preserves the skin, beard and lighting of people who were
not in the training set.

Skip connections are added, not concatenated, and widths change only between levels. Nearly all of
the work is therefore in 3 x 3 convolutions between equal widths, most of it below the expensive top
level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES
from talkhead.landmarks2video.diffusion import time_angles


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the denoiser and the scale of its output."""

    latent_channels: int
    map_channels: int
    """Channels of the conditioning maps at 4 times the latent resolution. With 0, the landmarks
    reach the network only through the warp."""
    speech_channels: int
    """Channels of the speech features that replace the landmarks; 0 to follow the landmarks."""
    widths: tuple[int, ...]
    """Channels per level; each level halves the resolution."""
    num_blocks: tuple[int, ...]
    """Residual blocks per level, on the way down and up; at the lowest, around the attention."""
    num_heads: int
    """Attention heads at the lowest level."""
    residual_scale: float
    """Standard deviation of the latent residuals, by which they are divided."""
    registration_components: int
    """Number of deformations used by the skin registration."""


COMPACT = DenoiserConfig(
    latent_channels=32,
    map_channels=9,
    speech_channels=0,
    widths=(160, 256, 320),
    num_blocks=(1, 2, 2),
    num_heads=5,
    residual_scale=0.31,
    registration_components=40,
)
HEARD_CHANNELS = 144
"""Channels of the projected speech features: as many as nine conditioning maps take."""
TINY = DenoiserConfig(
    latent_channels=8,
    map_channels=9,
    speech_channels=0,
    widths=(16, 32),
    num_blocks=(1, 1),
    num_heads=2,
    residual_scale=0.5,
    registration_components=4,
)


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of the diffusion time, followed by two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, channels), nn.ReLU(), nn.Linear(channels, channels)
        )

    def forward(self, time: Tensor) -> Tensor:
        """Map times (B,) to (B, channels)."""
        angle = time_angles(time, 32)
        features = torch.cat([angle.cos(), angle.sin()], 1)
        out: Tensor = self.layers(features.to(next(self.layers.parameters()).dtype))
        return out


class Block(nn.Module):
    """Time-conditioned residual block (scale and shift); initialised as the identity."""

    def __init__(self, channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_groups(channels), channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_channels, 2 * channels)
        self.norm_out = nn.GroupNorm(_groups(channels), channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        zero_layer(self.conv_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, C, h, w) and (B, time_channels) to (B, C, h, w)."""
        h = self.conv_in(functional.relu(self.norm_in(x)))
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        h = functional.relu(self.norm_out(h) * (1 + scale) + shift)
        out: Tensor = x + self.conv_out(h)
        return out


class Attention(nn.Module):
    """Self-attention over all positions, added to the input; initialised as the identity."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split evenly into {num_heads} heads")
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        zero_layer(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.num_heads, -1, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(-1, -2).reshape(batch, channels, height, width)
        out: Tensor = x + self.out(mixed)
        return out


class Denoiser(nn.Module):
    """U-Net over latents: noisy residual, warped identity and conditioning maps in, velocity out.

    The sides of the latents must be multiples of 2 ** (levels - 1).

    The buffers `registration_basis` (K, 478, 3) and `registration_weights` (6 + K, 478, 2) hold the
    linear model that corrects target meshes before the identity is warped to them; see
    `talkhead.geometry.skin_registration`.
    """

    registration_basis: Tensor
    registration_weights: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        widths, time_channels = config.widths, config.widths[0]

        def blocks(level: int) -> nn.ModuleList:
            return nn.ModuleList(
                Block(widths[level], time_channels) for _ in range(config.num_blocks[level])
            )

        levels = range(len(widths))
        in_channels = 2 * config.latent_channels + 16 * config.map_channels
        if config.speech_channels:
            self.hear = nn.Linear(config.speech_channels, HEARD_CHANNELS)
            in_channels += HEARD_CHANNELS
        self.time = TimeEmbedding(time_channels)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(blocks(level) for level in levels)
        self.up = nn.ModuleList(blocks(level) for level in levels)
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.attention = Attention(widths[-1], config.num_heads)
        self.norm_out = nn.GroupNorm(_groups(widths[0]), widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.latent_channels, 3, padding=1)
        zero_layer(self.conv_out)
        count = config.registration_components
        self.register_buffer("registration_basis", torch.zeros(count, NUM_POINTS, 3))
        self.register_buffer(
            "registration_weights", torch.zeros(NUM_POSE_FEATURES + count, NUM_POINTS, 2)
        )

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        warped: Tensor,
        maps: Tensor,
        heard: Tensor | None = None,
    ) -> Tensor:
        """Return the velocity of the scaled residual.

        Args:
            noisy: (B, latent_channels, h, w), scaled residual with noise.
            time: (B,) in [0, 1].
            warped: (B, latent_channels, h, w), latents of the warped identity.
            maps: (B, map_channels, 4 h, 4 w), conditioning maps; ignored if map_channels is 0.
            heard: (B, speech_channels), speech features of each frame; needed unless
                speech_channels is 0.

        Returns:
            (B, latent_channels, h, w).
        """
        embedding = functional.relu(self.time(time))
        # Scale the noisy input down as noise grows. At time 1, where it is pure noise, the estimate
        # must not depend on it.
        signal = (time.float() * (math.pi / 2)).cos().clamp(min=0)
        noisy = noisy * signal[:, None, None, None].to(noisy.dtype)
        inputs = [noisy, warped]
        if self.config.map_channels:
            inputs.append(functional.pixel_unshuffle(maps, 4))
        if self.config.speech_channels:
            assert heard is not None
            said = self.hear(heard.to(self.hear.weight.dtype))
            inputs.append(said[..., None, None].expand(-1, -1, *noisy.shape[-2:]))
        x = torch.cat(inputs, 1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, blocks in enumerate(self.down):
            if level:
                skips.append(x)
                x = self.shrink[level - 1](x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, embedding)
        x = self.attention(x)
        for level in reversed(range(len(self.up))):
            for block in self.up[level]:  # type: ignore[attr-defined]
                x = block(x, embedding)
            if level:
                x = self.grow[level - 1](x)
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
                x = x + skips[level - 1]
        out: Tensor = self.conv_out(functional.relu(self.norm_out(x)))
        return out


def _groups(channels: int) -> int:
    """Return the number of normalisation groups: 16, or fewer for narrow layers."""
    return math.gcd(16, channels)


def zero_layer(layer: nn.Conv2d | nn.Linear) -> None:
    """Zero a layer so that it adds nothing at the start of training."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
