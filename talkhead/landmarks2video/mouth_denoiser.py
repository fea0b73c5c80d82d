"""Mouth denoiser: a U-Net that diffuses what the draft of an opened mouth lacks.

The draft is the corrected frame, whose mouth is a mean over all the teeth that could be there. The
network diffuses the difference between the true patch and the draft, in principal components of
8 x 8 pixels. Whitened, all components have unit scale, so noise hides coarse and fine ones alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.landmarks2video.convolution import Conv3x3
from talkhead.landmarks2video.denoiser import Levels, TimeEmbedding, zero_layer
from talkhead.landmarks2video.mouth_patch import (
    LIP_MAP_PX,
    NUM_LIP_MAPS,
    PATCH_HEIGHT_PX,
    PATCH_WIDTH_PX,
)
from talkhead.networks import Network, register_to_config

LATENT_PX = 8
"""Pixels of the patch per latent."""
LATENT_SIZE = (PATCH_HEIGHT_PX // LATENT_PX, PATCH_WIDTH_PX // LATENT_PX)
NUM_COARSE = 6
"""The first principal components are brightness, colour and slopes; the others are fine."""
_MAP_RATIO = LATENT_PX // LIP_MAP_PX


class MouthDenoiser(Network, Levels):
    """U-Net over the latents of a mouth: noisy residual and conditions in, velocity out.

    The buffers `patch_mean` (192,), `components` (C, 192) and `spread` (C,) are the principal
    components of 8 x 8 patches of mouths and the standard deviations along them; `residual_spread`
    (C,) are those of the residuals, in units of `spread`.

    Args:
        latent_channels: number of principal components.
        widths: channels per level; each level halves the resolution.
        num_blocks: residual blocks per level, on the way down and up.
        num_heads: attention heads at the lowest level.
        sharpness: what `detail_of` gives for the sharper fifth of the training patches; rendering
            asks for it.
        dubbing_gain: by how much a single step's fine components are amplified in dubbing. One step
            answers with less contrast than real teeth have, because its answer is close to a mean;
            beside a video's own frames that shows.
    """

    patch_mean: Tensor
    components: Tensor
    spread: Tensor
    residual_spread: Tensor

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        widths: tuple[int, ...] = (128, 256),
        num_blocks: tuple[int, ...] = (1, 2),
        num_heads: int = 4,
        sharpness: float = 0.0,
        dubbing_gain: float = 1.0,
    ) -> None:
        super().__init__()
        time_channels = widths[0]
        self.register_buffer("patch_mean", torch.zeros(3 * LATENT_PX**2))
        self.register_buffer("components", torch.zeros(latent_channels, 3 * LATENT_PX**2))
        self.register_buffer("spread", torch.ones(latent_channels))
        self.register_buffer("residual_spread", torch.ones(latent_channels))
        in_channels = 3 * latent_channels + NUM_LIP_MAPS * _MAP_RATIO**2
        self.time = TimeEmbedding(time_channels)
        self.detail = nn.Sequential(
            nn.Linear(1, time_channels), nn.ReLU(), nn.Linear(time_channels, time_channels)
        )
        self.conv_in = Conv3x3(in_channels, widths[0])
        self.add_levels(widths, num_blocks, num_heads)
        self.conv_out = nn.Conv2d(widths[0], latent_channels, 3, padding=1)
        zero_layer(self.conv_out)

    def encode(self, patches: Tensor) -> Tensor:
        """Map patches (B, 3, 128, 160) in [-1, 1] to latents of unit scale, (B, C, 16, 20)."""
        cells = functional.pixel_unshuffle(patches.float(), LATENT_PX)
        cells = cells - self.patch_mean[:, None, None]
        kernel = (self.components / self.spread[:, None])[..., None, None]
        return functional.conv2d(cells, kernel)

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents to patches, the inverse of `encode`."""
        kernel = (self.components * self.spread[:, None]).T[..., None, None]
        cells = functional.conv2d(latents.float(), kernel) + self.patch_mean[:, None, None]
        return functional.pixel_shuffle(cells, LATENT_PX)

    def residual_scale(self, fine_gain: float = 1.0) -> Tensor:
        """Return what to multiply sampled residuals by, (C, 1, 1), to add them to latents."""
        scale = self.residual_spread.clone()
        scale[NUM_COARSE:] *= fine_gain
        return scale[:, None, None]

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        draft: Tensor,
        reference: Tensor,
        maps: Tensor,
        sharpness: Tensor,
    ) -> Tensor:
        """Return the velocity of the residual, in units of `residual_spread`.

        Args:
            noisy: (B, C, 16, 20), residual with noise.
            time: (B,) in [0, 1].
            draft: (B, C, 16, 20), latents of the corrected frame.
            reference: (B, C, 16, 20), latents of another picture of the person; zeros for none.
            maps: (B, 2, 32, 40), from `draw_lips`.
            sharpness: (B,), from `detail_of`: how much detail the patch has.

        Returns:
            (B, C, 16, 20).
        """
        kind = next(self.detail.parameters()).dtype
        detail = sharpness.clamp(min=1e-3).log2()[:, None].to(kind)
        embedding = self.time(time) + self.detail(detail)
        embedding = functional.relu(embedding)
        cells = functional.pixel_unshuffle(maps, _MAP_RATIO)
        x = torch.cat([noisy, draft, reference, cells], 1)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        x = self.run_levels(x, embedding)
        out: Tensor = self.conv_out(functional.relu(x))
        return out


def detail_of(patches: Tensor) -> Tensor:
    """Return how much fine detail patches have, relative to coarse detail, (B,).

    Args:
        patches: (B, 3, H, W).

    Returns:
        The magnitude of the Laplacian at full resolution over that at half of it: below 0.3 for
        pictures that were enlarged, near 1 for sharp ones.
    """
    grey = patches.float().mean(1, keepdim=True)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=patches.device)[None, None]
    energies = [
        functional.conv2d(image, kernel).square().mean((1, 2, 3))
        for image in (grey, functional.avg_pool2d(grey, 2))
    ]
    return ((energies[0] + 1e-7) / (energies[1] + 1e-7)).sqrt()
