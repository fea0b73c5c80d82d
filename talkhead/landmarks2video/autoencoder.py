"""Compact autoencoder: 256 px crops to 32 x 32 latents and back.

The encoder and the decoder each have a linear shortcut on 8 x 8 patches that runs parallel to the
network. It is initialised with the principal components of the patches, so training starts from the
best linear autoencoder. It also keeps the latents close to an orthogonal projection of the pixels:
an error in the latents costs about as much as the same error in the pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.landmarks2video.convolution import Conv3x3
from talkhead.networks import Network, apply_forward_hook, register_to_config

PATCH_PX = 8


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a ReLU, added to the input; initialised as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = Conv3x3(channels, channels)
        self.conv_out = Conv3x3(channels, channels)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        out: Tensor = x + self.conv_out(functional.relu(self.conv_in(x), inplace=True))
        return out


class Autoencoder(Network):
    """Encoder and decoder. Pixels are in [-1, 1]; latents have roughly unit scale.

    The sides of the image must be multiples of 8.

    Args:
        latent_channels: channels of the latents.
        width: channels at 1/8 of the resolution.
        fine_width: decoder channels at 1/4 of the resolution.
        num_encoder_blocks: residual blocks of the encoder.
        num_decoder_blocks: residual blocks of the decoder at 1/8 of the resolution.
        num_fine_blocks: residual blocks of the decoder at 1/4 of the resolution.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        width: int = 192,
        fine_width: int = 96,
        num_encoder_blocks: int = 0,
        num_decoder_blocks: int = 2,
        num_fine_blocks: int = 1,
    ) -> None:
        super().__init__()
        patch, latent, fine = 3 * PATCH_PX**2, latent_channels, fine_width
        self.linear_encoder = nn.Conv2d(patch, latent, 1)
        self.encoder = nn.Sequential(
            Conv3x3(patch, width),
            *(ResidualBlock(width) for _ in range(num_encoder_blocks)),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, latent, 1),
        )
        self.linear_decoder = nn.Conv2d(latent, patch, 1)
        self.decoder = nn.Sequential(
            Conv3x3(latent, width),
            *(ResidualBlock(width) for _ in range(num_decoder_blocks)),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine) for _ in range(num_fine_blocks)),
            nn.ReLU(inplace=True),
            nn.Conv2d(fine, 48, 3, padding=1),
        )
        for last in (self.encoder[-1], self.decoder[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def set_linear_path(self, mean: Tensor, components: Tensor, scale: float) -> None:
        """Set the linear shortcut to the principal components of the patches.

        Args:
            mean: (192,), mean patch, in the order of `pixel_unshuffle`.
            components: (latent_channels, 192), orthonormal rows.
            scale: divisor of the latents.
        """
        self.linear_encoder.weight.copy_((components / scale)[..., None, None])
        self.linear_encoder.bias.copy_(-(components @ mean) / scale)  # type: ignore[union-attr]
        self.linear_decoder.weight.copy_((components.T * scale)[..., None, None])
        self.linear_decoder.bias.copy_(mean)  # type: ignore[union-attr]

    @apply_forward_hook
    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to latents (B, latent_channels, H / 8, W / 8)."""
        patches = functional.pixel_unshuffle(image, PATCH_PX)
        # The linear shortcut carries almost all of the signal and is cheap, so it stays in float32.
        with torch.autocast(image.device.type, enabled=False):
            straight = self.linear_encoder(patches.float())
        latents: Tensor = straight + self.encoder(patches)
        return latents

    @apply_forward_hook
    def decode(self, latents: Tensor) -> Tensor:
        """Map latents (B, latent_channels, h, w) to images (B, 3, 8 h, 8 w), not clamped."""
        with torch.autocast(latents.device.type, enabled=False):
            straight = functional.pixel_shuffle(self.linear_decoder(latents.float()), PATCH_PX)
        return straight + functional.pixel_shuffle(self.decoder(latents), 4)

    @apply_forward_hook
    def lost_detail(self, image: Tensor) -> Tensor:
        """Return what the linear shortcut loses of images (B, 3, H, W), to add back later."""
        with torch.autocast(image.device.type, enabled=False):
            patches = functional.pixel_unshuffle(image.float(), PATCH_PX)
            kept = self.linear_decoder(self.linear_encoder(patches))
            return image - functional.pixel_shuffle(kept, PATCH_PX)

    def forward(self, image: Tensor) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(image))
