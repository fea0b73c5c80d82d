"""Patch discriminator: tells made mouths from filmed ones while the denoiser is trained."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (96, 128, 192, 256)
"""Channels at a half, a quarter, an eighth and a sixteenth of the resolution."""


class PatchDiscriminator(nn.Module):
    """Judges every neighbourhood of an image beside what it was made from.

    Args:
        condition_channels: of the conditions, at the image's resolution.

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
        """Judge images (B, 3, H, W) under conditions (B, C, H, W); sides are multiples of 16.

        Returns:
            Logits (B, 1, H / 16, W / 16), above 0 for filmed ones, and the features of every level.
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
    """Return the hinge loss of a discriminator from its logits."""
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
