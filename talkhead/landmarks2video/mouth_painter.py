"""Paint what an opened mouth shows into frames, by diffusion in the mouth's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.device import one_thread
from talkhead.landmarks2video.mouth_denoiser import LATENT_SIZE, MouthDenoiser
from talkhead.landmarks2video.mouth_pasting import cut_mouths, paste_mouths
from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    FADE_PX,
    PAINTED_PX,
    draw_lips,
    lip_outlines,
    painted_share,
    patch_placements,
)
from talkhead.landmarks2video.sampling import SamplerOptions, sample

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

OPENING_PX = (0.5, 2.0)
"""As the depth of an opening, half its height, grows between these, in pixels of the patch, the
painted mouth fades in."""


@dataclass(frozen=True)
class MouthPainter:
    """Samples the inside of opened mouths, and pastes it into frames."""

    denoiser: MouthDenoiser
    scheduler: Any
    """A scheduler of diffusers."""
    device: torch.device
    dtype: torch.dtype
    """Precision of the computation; the tensors stay in float32."""

    def draw_noise(self, seed: int) -> Tensor:
        """Draw the initial noise that all frames share, shape = (1, C, 16, 20)."""
        generator = torch.Generator().manual_seed(seed)
        shape = (1, self.denoiser.config.latent_channels, *LATENT_SIZE)
        return torch.randn(shape, generator=generator).to(self.device)

    @one_thread()
    @torch.inference_mode()
    def reference(self, pictures: Pixels, meshes: Floats) -> Tensor:
        """Return the latents of the mouths that pictures show, for `paint`.

        Args:
            pictures: uint8 (B, H, W, 3).
            meshes: (B, 478, 3), pixels.

        Returns:
            (B, C, 16, 20).
        """
        every = np.arange(len(pictures))
        return self.denoiser.encode(
            cut_mouths(pictures, every, patch_placements(meshes), self.device)
        )

    @torch.inference_mode()
    def paint(
        self,
        frames: Pixels,
        meshes: Floats,
        reference: Tensor,
        epsilon: Tensor,
        options: SamplerOptions,
        fine_gain: float = 1.0,
    ) -> None:
        """Paint the insides of opened mouths into frames, in place.

        Args:
            frames: uint8 (B, H, W, 3).
            meshes: (B, 478, 3), the faces in the frames, pixels.
            reference: (B or 1, C, 16, 20), from `reference`.
            epsilon: (1, C, 16, 20), from `draw_noise`.
            options: steps and seed.
            fine_gain: by how much fine components are amplified.
        """
        placements = patch_placements(meshes)
        outlines = lip_outlines(meshes, placements)
        maps = draw_lips(torch.from_numpy(outlines).to(self.device))
        depth = maps[:, 0].amax((1, 2)) * DISTANCE_UNIT_PX
        opened = ((depth - OPENING_PX[0]) / (OPENING_PX[1] - OPENING_PX[0])).clamp(0, 1)
        chosen = opened.nonzero()[:, 0].cpu().numpy()
        if not len(chosen):
            return
        maps, placements = maps[chosen], placements[chosen]
        latents = self.denoiser.encode(cut_mouths(frames, chosen, placements, self.device))
        reference = reference.expand(len(frames), -1, -1, -1)[chosen]
        residual = self._sample(latents, reference, maps, epsilon, options)
        painted = self.denoiser.decode(latents + residual * self.denoiser.residual_scale(fine_gain))
        shown = opened[chosen, None, None, None]

        def share(distance: Tensor) -> Tensor:
            return painted_share(distance) * shown

        reach_px = PAINTED_PX + FADE_PX
        paste_mouths(frames, chosen, placements, maps[:, :1], painted.clamp(-1, 1), share, reach_px)

    def _sample(
        self,
        latents: Tensor,
        reference: Tensor,
        maps: Tensor,
        epsilon: Tensor,
        options: SamplerOptions,
    ) -> Tensor:
        """Return the sampled residual, (B, C, 16, 20), in units of the denoiser."""
        sharpness = torch.full((len(latents),), self.denoiser.config.sharpness, device=self.device)

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            velocity: Tensor = self.denoiser(noisy, time, latents, reference, maps, sharpness)
            return velocity.float()

        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return sample(denoise, epsilon.expand_as(latents), self.scheduler, options)
