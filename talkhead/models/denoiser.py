"""Residual latent denoiser: a U-Net that corrects the warped identity where the warp is wrong.

It diffuses the difference between the true latents and those of the warped identity. At zero output the frame is
the warp itself, so that skin, beard and light of a person never seen in training are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the denoiser and the scale of what it generates."""

    latent_channels: int
    map_channels: int
    """Channels of the conditioning maps at 4 times the latent resolution."""
    widths: tuple[int, ...]
    """Channels of every level; each level halves the resolution."""
    num_blocks: int
    """Residual blocks per level and direction."""
    num_heads: int
    """Attention heads at the lowest level."""
    residual_scale: float
    """Standard deviation of the latent residuals: they are divided by it."""


TINY = DenoiserConfig(
    latent_channels=8,
    map_channels=9,
    widths=(16, 32),
    num_blocks=1,
    num_heads=2,
    residual_scale=1.0,
)


class TimeEmbedding(nn.Module):
    """Sine features of the time, through two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, time: Tensor) -> Tensor:
        """Map times (B,) to (B, channels)."""
        rate = torch.exp(torch.linspace(0, math.log(1000.0), 32, device=time.device))
        angle = time.float()[:, None] * rate
        features = torch.cat([angle.cos(), angle.sin()], 1)
        out: Tensor = self.layers(features.to(self.layers[0].weight.dtype))
        return out


class Block(nn.Module):
    """Residual block, its second half scaled and shifted by the time."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_groups(in_channels), in_channels)
        self.conv_in = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_channels, 2 * out_channels)
        self.norm_out = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, C, h, w) and (B, time_channels) to (B, out_channels, h, w)."""
        h = self.conv_in(functional.relu(self.norm_in(x)))
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        h = functional.relu(self.norm_out(h) * (1 + scale) + shift)
        out: Tensor = self.skip(x) + self.conv_out(h)
        return out


class Attention(nn.Module):
    """Self-attention over all positions, added to the input."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

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
    """U-Net over latents: noisy residual, warped identity and conditioning maps in, velocity out."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        widths, time_channels = config.widths, config.widths[0]
        in_channels = 2 * config.latent_channels + 16 * config.map_channels
        self.time = TimeEmbedding(time_channels)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        skips, channels = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.num_blocks):
                self.down.append(Block(channels, width, time_channels))
                channels = width
                skips.append(channels)
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.middle = nn.ModuleList(
            [Block(channels, channels, time_channels), Block(channels, channels, time_channels)]
        )
        self.attention = Attention(channels, config.num_heads)
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for _ in range(config.num_blocks + 1):
                self.up.append(Block(channels + skips.pop(), widths[level], time_channels))
                channels = widths[level]
            if level:
                self.grow.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.norm_out = nn.GroupNorm(_groups(channels), channels)
        self.conv_out = nn.Conv2d(channels, config.latent_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor, time: Tensor, warped: Tensor, maps: Tensor) -> Tensor:
        """Return the velocity of the scaled residual.

        Args:
            noisy: (B, latent_channels, h, w), scaled residual with noise.
            time: (B,) in [0, 1].
            warped: (B, latent_channels, h, w), latents of the warped identity.
            maps: (B, map_channels, 4 h, 4 w), conditioning maps.

        Returns:
            (B, latent_channels, h, w).
        """
        blocks, config = self.config.num_blocks, self.config
        emb = functional.relu(self.time(time))
        x = torch.cat([noisy, warped, functional.pixel_unshuffle(maps, 4)], 1)
        x = self.conv_in(x.to(memory_format=torch.channels_last))
        skips = [x]
        for level in range(len(config.widths)):
            for block in self.down[level * blocks : (level + 1) * blocks]:
                x = block(x, emb)
                skips.append(x)
            if level + 1 < len(config.widths):
                x = self.shrink[level](x)
                skips.append(x)
        x = self.middle[1](self.attention(self.middle[0](x, emb)), emb)
        for step in range(len(config.widths)):
            for block in self.up[step * (blocks + 1) : (step + 1) * (blocks + 1)]:
                x = block(torch.cat([x, skips.pop()], 1), emb)
            if step + 1 < len(config.widths):
                x = functional.interpolate(x, size=skips[-1].shape[-2:], mode="nearest")
                x = self.grow[step](x)
        out: Tensor = self.conv_out(functional.relu(self.norm_out(x)))
        return out


def _groups(channels: int) -> int:
    """Return the number of normalisation groups: 16, or fewer for narrow layers."""
    return math.gcd(16, channels)
