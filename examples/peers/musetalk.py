"""MuseTalk's networks for `talkhead benchmark --peer`, in their published sizes, untrained.

For each frame of 256 px a U-Net of Stable Diffusion's size runs once, and an autoencoder decodes.
Finding the face, encoding it and putting it back into the picture come on top.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

FRAMES = 2


class MuseTalk(nn.Module):
    """From the latents of a masked face and a reference, and sound, to the face."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(in_channels=8, cross_attention_dim=384)
        widths = (128, 256, 512, 512)
        self.autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=2,
        )

    def forward(self, latents: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        """Map (B, 8, 32, 32) and (B, 50, 384) to (B, 3, 256, 256)."""
        made = self.unet(latents, 0, sound).sample
        decoded: torch.Tensor = self.autoencoder.decode(made).sample
        return decoded


def build() -> tuple[nn.Module, tuple[torch.Tensor, ...], int]:
    """Return the networks, their inputs, and how many frames they make."""
    return MuseTalk(), (torch.zeros(FRAMES, 8, 32, 32), torch.zeros(FRAMES, 50, 384)), FRAMES
