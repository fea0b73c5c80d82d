"""Paint what an opened mouth shows into frames, by diffusion in the mouth's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.device import one_thread
from talkhead.landmarks2video.mouth_denoiser import LATENT_SIZE, MouthDenoiser
from talkhead.landmarks2video.mouth_patch import (
    DISTANCE_UNIT_PX,
    FADE_PX,
    PAINTED_PX,
    PATCH_HEIGHT_PX,
    PATCH_WIDTH_PX,
    affine_places,
    cut_patches,
    draw_lips,
    lip_outlines,
    painted_share,
    patch_placements,
)
from talkhead.landmarks2video.sampling import SamplerOptions, sample

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

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
        return self.denoiser.encode(self._cut(pictures, every, patch_placements(meshes)))

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
        latents = self.denoiser.encode(self._cut(frames, chosen, placements))
        reference = reference.expand(len(frames), -1, -1, -1)[chosen]
        residual = self._sample(latents, reference, maps, epsilon, options)
        painted = self.denoiser.decode(latents + residual * self.denoiser.residual_scale(fine_gain))
        self._paste(frames, chosen, placements, maps, painted.clamp(-1, 1), opened[chosen])

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

    def _cut(self, pictures: Pixels, chosen: Indices, placements: Floats) -> Tensor:
        """Cut the patches of chosen pictures, (B, 3, 128, 160) in [-1, 1]."""
        corners = np.array(
            [
                [0, 0, 1],
                [PATCH_WIDTH_PX, 0, 1],
                [0, PATCH_HEIGHT_PX, 1],
                [PATCH_WIDTH_PX, PATCH_HEIGHT_PX, 1],
            ],
            np.float32,
        )
        reach = corners @ np.swapaxes(placements, -1, -2)  # (B, 4, 2)
        (x0, y0), (x1, y1) = _box(reach, pictures.shape[2], pictures.shape[1], 4)
        part = torch.from_numpy(pictures[chosen, y0:y1, x0:x1]).to(self.device)
        image = part.permute(0, 3, 1, 2).float() / 127.5 - 1
        shifted = torch.from_numpy(placements.copy()).to(self.device)
        shifted[:, :, 2] -= torch.tensor([x0, y0], device=self.device)
        return cut_patches(image, shifted).clamp(-1, 1)

    def _paste(
        self,
        frames: Pixels,
        chosen: Indices,
        placements: Floats,
        maps: Tensor,
        patches: Tensor,
        opened: Tensor,
    ) -> None:
        """Replace the insides of the lips in chosen frames."""
        inside = maps[:, 0].cpu().numpy() > -(PAINTED_PX + FADE_PX + 4) / DISTANCE_UNIT_PX
        ratio = PATCH_WIDTH_PX / maps.shape[-1]
        rows, columns = inside.any(2).any(0).nonzero()[0], inside.any(1).any(0).nonzero()[0]
        left, right = columns[0] * ratio, (columns[-1] + 1) * ratio
        top, bottom = rows[0] * ratio, (rows[-1] + 1) * ratio
        corners = np.array(
            [[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]], np.float32
        )
        reach = corners @ np.swapaxes(placements, -1, -2)
        (x0, y0), (x1, y1) = _box(reach, frames.shape[2], frames.shape[1], 1)
        if x0 >= x1 or y0 >= y1:
            return
        turn = np.linalg.inv(placements[..., :2])
        offset = -(turn @ placements[..., 2:])[..., 0]
        inverse = torch.from_numpy(np.concatenate([turn, offset[..., None]], -1)).to(self.device)
        x = torch.arange(x0, x1, device=self.device) + 0.5
        y = torch.arange(y0, y1, device=self.device) + 0.5
        size = torch.tensor([PATCH_WIDTH_PX, PATCH_HEIGHT_PX], device=self.device)
        places = affine_places(inverse.float(), x, y) * (2 / size) - 1
        distance = functional.grid_sample(
            maps[:, :1], places, mode="bilinear", padding_mode="border", align_corners=False
        )
        share = painted_share(distance) * opened[:, None, None, None]
        pasted = functional.grid_sample(
            patches, places, mode="bicubic", padding_mode="border", align_corners=False
        )
        region = torch.from_numpy(frames[chosen, y0:y1, x0:x1]).to(self.device)
        region = region.permute(0, 3, 1, 2).float()
        mixed = region + share * ((pasted + 1) * 127.5 - region)
        pixels = mixed.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        frames[chosen, y0:y1, x0:x1] = pixels.cpu().numpy()


def _box(
    points: Floats, width: int, height: int, margin: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the whole pixels around points (B, N, 2) within a picture: two corners."""
    low = np.floor(points.min((0, 1))).astype(int) - margin
    high = np.ceil(points.max((0, 1))).astype(int) + margin
    limit = np.array([width, height])
    low, high = np.minimum(np.maximum(low, 0), limit - 1), np.minimum(np.maximum(high, 1), limit)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
