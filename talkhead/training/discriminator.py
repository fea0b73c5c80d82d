"""Patch discriminator: tells generated mouths from filmed ones while the denoiser trains."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (96, 128, 192, 256)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution."""


class PatchDiscriminator(nn.Module):
    """Classifies every patch of an image, given the conditions it was generated from.

    Args:
        condition_channels: number of condition channels, at the image's resolution.

    Source: Isola et al., "Image-to-image translation with conditional adversarial networks" (2017);
    Miyato et al., "Spectral normalization for generative adversarial networks" (2018).
    """

    def __init__(self, condition_channels: int) -> None:
        super().__init__()
        self.conv_in = spectral_norm(nn.Conv2d(4 * (3 + condition_channels), WIDTHS[0], 3, 1, 1))
        self.shrink = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(WIDTHS)
        )
        self.out = spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, padding=1))

    def forward(self, image: Tensor, condition: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Classify images (B, 3, H, W) under conditions (B, C, H, W); sides are multiples of 16.

        Returns:
            Logits (B, 1, H / 16, W / 16), positive for filmed images, and each level's features.
        """
        x = functional.pixel_unshuffle(torch.cat([image, condition.to(image.dtype)], 1), 2)
        x = functional.leaky_relu(self.conv_in(x), 0.2)
        features = [x]
        for layer in self.shrink:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        logits: Tensor = self.out(x)
        return logits, features


def judge_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return the discriminator's hinge loss from its logits for real and generated images."""
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
