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
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.landmarks2video.convolution import Conv3x3
from talkhead.landmarks2video.registered_network import RegisteredNetwork
from talkhead.networks import register_to_config


def time_angles(time: Tensor, count: int) -> Tensor:
    """Return angles (B, count) of the sinusoidal embedding of times (B,), slow to fast."""
    paces = torch.exp(torch.linspace(0, math.log(1000.0), count, device=time.device))
    return time.float()[:, None] * paces


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
        self.conv_in = Conv3x3(channels, channels)
        self.time = nn.Linear(time_channels, 2 * channels)
        self.norm_out = nn.GroupNorm(_groups(channels), channels)
        self.conv_out = Conv3x3(channels, channels)
        zero_layer(self.conv_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, C, h, w) and (B, time_channels) to (B, C, h, w)."""
        h = self.conv_in(functional.relu(self.norm_in(x), inplace=True))
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        h = functional.relu(torch.addcmul(shift, self.norm_out(h), 1 + scale), inplace=True)
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


class Levels(nn.Module):
    """The levels of a U-Net, for a network to inherit."""

    def add_levels(
        self, widths: tuple[int, ...], num_blocks: tuple[int, ...], num_heads: int
    ) -> None:
        """Add the layers.

        Args:
            widths: channels per level; each level halves the resolution. The first is also that of
                the time embedding.
            num_blocks: residual blocks per level, on the way down and up; at the lowest, around the
                attention.
            num_heads: attention heads at the lowest level.
        """

        def blocks(level: int) -> nn.ModuleList:
            return nn.ModuleList(Block(widths[level], widths[0]) for _ in range(num_blocks[level]))

        levels = range(len(widths))
        self.down = nn.ModuleList(blocks(level) for level in levels)
        self.up = nn.ModuleList(blocks(level) for level in levels)
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.attention = Attention(widths[-1], num_heads)

    def run_levels(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, widths[0], h, w) and (B, widths[0]) to (B, widths[0], h, w)."""
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
        return x


class Denoiser(RegisteredNetwork, Levels):
    """U-Net over latents: noisy residual, warped identity and conditioning maps in, velocity out.

    The sides of the latents must be multiples of 2 ** (levels - 1).

    The buffers `registration_basis` (K, 478, 3) and `registration_weights` (6 + K, 478, 2) hold the
    linear model that corrects target meshes before the identity is warped to them; see
    `talkhead.geometry.skin_registration`.

    Args:
        latent_channels: channels of the latents.
        map_channels: channels of the conditioning maps, at 4 times the latents' resolution. With 0,
            the landmarks reach the network only through the warp.
        widths: channels per level; each level halves the resolution.
        num_blocks: residual blocks per level, on the way down and up; at the lowest, around the
            attention.
        num_heads: attention heads at the lowest level.
        residual_scale: standard deviation of the latent residuals, by which they are divided.
        registration_components: number of deformations used by the skin registration.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        map_channels: int = 9,
        widths: tuple[int, ...] = (160, 256, 320),
        num_blocks: tuple[int, ...] = (1, 2, 2),
        num_heads: int = 5,
        residual_scale: float = 0.31,
        registration_components: int = 40,
    ) -> None:
        super().__init__()
        time_channels = widths[0]
        in_channels = 2 * latent_channels + 16 * map_channels
        self.time = TimeEmbedding(time_channels)
        self.conv_in = Conv3x3(in_channels, widths[0])
        self.add_levels(widths, num_blocks, num_heads)
        self.norm_out = nn.GroupNorm(_groups(widths[0]), widths[0])
        self.conv_out = nn.Conv2d(widths[0], latent_channels, 3, padding=1)
        zero_layer(self.conv_out)
        self.add_registration(registration_components)

    def forward(self, noisy: Tensor, time: Tensor, warped: Tensor, maps: Tensor) -> Tensor:
        """Return the velocity of the scaled residual.

        Args:
            noisy: (B, latent_channels, h, w), scaled residual with noise.
            time: (B,) in [0, 1].
            warped: (B, latent_channels, h, w), latents of the warped identity.
            maps: (B, map_channels, 4 h, 4 w), conditioning maps; ignored if map_channels is 0.

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
        x = torch.cat(inputs, 1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        x = self.run_levels(x, embedding)
        out: Tensor = self.conv_out(functional.relu(self.norm_out(x)))
        return out


def _groups(channels: int) -> int:
    """Return the number of normalisation groups: 16, or fewer for narrow layers."""
    return math.gcd(16, channels)


def zero_layer(layer: nn.Conv2d | nn.Linear) -> None:
    """Zero a layer so that it adds nothing at the start of training."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
