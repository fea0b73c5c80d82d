"""Projected discriminator: judges mouths by the frozen features of a classifier of pictures.

What tells real teeth from made ones need not be learned from a few thousand mouths: training takes
a fraction of the steps that a discriminator of pixels takes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from talkhead.training.image_features import CHANNELS

MIXED_CHANNELS = 64
HEAD_CHANNELS = 96
JUDGED_CHANNELS = CHANNELS[1:]
"""Those of the features that are judged; the finest are only compared."""


class ProjectedDiscriminator(nn.Module):
    """Classifies every place of an image, at three scales, by features that are randomly mixed.

    Mixing across channels and scales, with weights that are never trained, keeps the heads from
    looking at a few features only.

    Args:
        condition_channels: channels of the condition maps.

    Source: Sauer et al., "Projected GANs converge faster" (2021).
    """

    def __init__(self, condition_channels: int) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(c, MIXED_CHANNELS, 1) for c in JUDGED_CHANNELS)
        self.down = nn.ModuleList(
            nn.Conv2d(MIXED_CHANNELS, MIXED_CHANNELS, 3, padding=1) for _ in pairwise(self.across)
        )
        for layer in (*self.across, *self.down):
            layer.requires_grad_(False)
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=fan_in**-0.5)
            nn.init.zeros_(layer.bias)
        self.heads = nn.ModuleList(
            _head(MIXED_CHANNELS + condition_channels, stride=2 if number == 0 else 1)
            for number in range(len(JUDGED_CHANNELS))
        )

    def forward(self, features: list[Tensor], condition: Tensor) -> list[Tensor]:
        """Classify features under conditions.

        Args:
            features: of `EfficientNetLite`, from fine to coarse.
            condition: (B, C, H, W).

        Returns:
            Logits (B, 1, h, w) at 1/8, 1/8 and 1/16 of the resolution, positive for filmed images.
        """
        levels = [mix(level) for mix, level in zip(self.across, features[1:], strict=True)]
        mixed = [levels[-1]]
        for level, smooth in zip(reversed(levels[:-1]), reversed(self.down), strict=True):
            above = functional.interpolate(
                mixed[0], level.shape[-2:], mode="bilinear", align_corners=False
            )
            mixed.insert(0, smooth(level + above))
        logits = []
        for level, head in zip(mixed, self.heads, strict=True):
            known = functional.interpolate(
                condition, level.shape[-2:], mode="bilinear", align_corners=False
            )
            logits.append(head(torch.cat([level, known], 1)))
        return logits


def _head(channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, HEAD_CHANNELS, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, stride, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(HEAD_CHANNELS, 1, 3, padding=1)),
    )
