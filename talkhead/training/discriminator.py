"""Patch discriminator: tells generated mouths from filmed ones while the denoiser trains."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (96, 128, 192, 256)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution."""
MARGIN_PX = 6
"""Margin around the opened mouth in which the discriminator sees the generated image."""
CONDITION_MAPS = (0, 8)
"""Maps given to the discriminator: the mouth opening, and the area that was not visible."""
CONDITION_CHANNELS = 3 + len(CONDITION_MAPS)


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
        x = x.contiguous(memory_format=torch.channels_last)  # a fifth faster on CPUs
        x = functional.leaky_relu(self.conv_in(x), 0.2)
        features = [x]
        for layer in self.shrink:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        logits: Tensor = self.out(x)
        return logits, features


def adversarial_losses(
    discriminator: PatchDiscriminator,
    generated: Tensor,
    real: Tensor,
    warped: Tensor,
    maps: Tensor,
) -> dict[str, Tensor]:
    """Compare generated mouths with filmed ones.

    The gradients of `pixel`, `feature` and `adversarial` reach only the generated mouths; those of
    `discriminator` reach only the discriminator. It sees generated mouths inside filmed faces,
    because the skin is visible in the identity and need not be generated.

    Args:
        discriminator: with `CONDITION_CHANNELS` condition channels.
        generated: (B, 3, H, W) in [-1, 1].
        real: (B, 3, H, W), the filmed mouths.
        warped: (B, 3, H, W), the warped identity.
        maps: (B, 9, H / 2, W / 2), the conditioning maps.
    """
    chosen = functional.interpolate(maps[:, list(CONDITION_MAPS)], scale_factor=2.0)
    condition = torch.cat([warped, chosen], 1)
    with torch.no_grad():
        _, goals = discriminator(real, condition)
    near = functional.max_pool2d(chosen[:, :1], 2 * MARGIN_PX + 1, stride=1, padding=MARGIN_PX)
    mixed = near * generated + (1 - near) * real
    discriminator.requires_grad_(False)
    logits, features = discriminator(mixed, condition)
    discriminator.requires_grad_(True)
    feature = torch.stack(
        [functional.l1_loss(a.float(), b.float()) for a, b in zip(features, goals, strict=True)]
    )
    real_logits, _ = discriminator(real, condition)
    generated_logits, _ = discriminator(mixed.detach(), condition)
    return {
        "pixel": functional.l1_loss(generated.float(), real),
        "feature": feature.mean(),
        "adversarial": -logits.float().mean(),
        "discriminator": discriminator_loss(real_logits.float(), generated_logits.float()),
    }


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the hinge loss of the discriminator's logits for real and generated images."""
    return functional.relu(1 - real).mean() + functional.relu(1 + generated).mean()
