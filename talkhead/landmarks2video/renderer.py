"""The second stage: render frames from landmarks and a picture."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.composite import Canvas, composite, prepare_canvas
from talkhead.landmarks2video.conditioning import draw_stage, warp_identity
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.diffusion import sample_ddim
from talkhead.landmarks2video.mask_noise.renderer import START_STEP, mask_noise_layers
from talkhead.landmarks2video.region import LATENT_PX, REGION_HEIGHT_PX, REGION_WIDTH_PX, lower_face
from talkhead.landmarks2video.registration import registration_of
from talkhead.landmarks2video.sharpening import matching_sharpening, sharpen
from talkhead.media.prefetch import run_ahead

if TYPE_CHECKING:
    from talkhead.pipelines.networks import AnyPipeline, Pipeline

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def render_frames(
    pipeline: AnyPipeline,
    picture: Pixels,
    identity: Floats,
    windows: Iterator[Floats],
    *,
    num_steps: int = 1,
    seed: int = 0,
    heard: Floats | None = None,
    emotion: Floats | None = None,
    start_step: int = START_STEP,
) -> Generator[Pixels, None, None]:
    """Render frames of a picture from landmarks.

    The networks, the compositing, and the consumer each run in a thread of their own.

    Args:
        pipeline: the networks.
        picture: uint8 (H, W, 3).
        identity: (478, 3), the mesh in the picture, pixels.
        windows: meshes (T, 478, 3) of the frames, pixels of the picture.
        num_steps: sampling steps.
        seed: random seed of the diffusion noise, which all frames share.
        heard: (T, D), `speech_features` of all frames, for a denoiser that takes speech; its
            meshes only give the head motion.
        emotion: (8,), probabilities of the emotions, for mask-noise; None is neutral, and leaves
            the meshes unchanged.
        start_step: where mask-noise starts sampling, out of 1000.

    Yields:
        uint8 (T, H, W, 3); for lgd, one array per window.
    """
    canvas = prepare_canvas(picture, identity, pipeline.device)
    from talkhead.pipelines.networks import MaskNoisePipeline

    if isinstance(pipeline, MaskNoisePipeline):
        layers = mask_noise_layers(
            pipeline,
            canvas,
            windows,
            emotion=emotion,
            num_steps=num_steps,
            start_step=start_step,
            seed=seed,
        )
    else:
        layers = _lower_faces(pipeline, canvas, windows, num_steps, seed, heard)
    frames = _composites(canvas, run_ahead(layers))
    yield from run_ahead(frames)


@torch.inference_mode()
def _lower_faces(
    pipeline: Pipeline,
    canvas: Canvas,
    windows: Iterator[Floats],
    num_steps: int,
    seed: int,
    heard: Floats | None,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the layers for `composite`, window by window."""
    registration = registration_of(pipeline.denoiser)
    own_mesh = canvas.mesh[0].cpu().numpy()
    epsilon = draw_noise(pipeline, seed)
    sharpening: float | None = None
    sounds = None if heard is None else torch.from_numpy(heard).to(pipeline.device)
    start = 0
    for points in windows:
        sound = None if sounds is None else sounds[start : start + len(points)]
        start += len(points)
        moved = registration.apply(own_mesh, canvas.crop.to_crop(points))
        target = torch.from_numpy(moved).to(pipeline.device)
        shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
        small = canvas.small.expand(len(target), -1, -1, -1)
        warped, made = correct_frames(pipeline, small, grid, maps, epsilon, num_steps, sound)
        if sharpening is None:
            # Warps and networks soften; measure by how much on the first window only.
            sharpening = matching_sharpening(made, lower_face(canvas.small))
        yield shift, maps, target, warped, sharpen(made, sharpening)


@torch.inference_mode()
def _composites(
    canvas: Canvas, layers: Generator[tuple[torch.Tensor, ...], None, None]
) -> Iterator[Pixels]:
    with closing(layers):
        for part in layers:
            yield composite(canvas, *part)


def draw_noise(pipeline: Pipeline, seed: int) -> torch.Tensor:
    """Draw the initial noise that all frames share, shape = (1, C, 20, 24)."""
    channels = pipeline.denoiser.config.latent_channels
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, REGION_HEIGHT_PX // LATENT_PX, REGION_WIDTH_PX // LATENT_PX)
    return torch.randn(shape, generator=generator).to(pipeline.device)


def correct_frames(
    pipeline: Pipeline,
    small: torch.Tensor,
    grid: torch.Tensor,
    maps: torch.Tensor,
    epsilon: torch.Tensor,
    num_steps: int,
    heard: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Warp crops and correct their lower faces, in smaller batches if memory runs out.

    Args:
        pipeline: the networks.
        small: (B, 3, 256, 256) in [-1, 1].
        grid: (B, 128, 128, 2), from `draw_stage`.
        maps: (B, 9, 128, 128), from `draw_stage`.
        epsilon: (1, C, 20, 24), the initial noise that all frames share.
        num_steps: sampling steps.
        heard: (B, D), for a denoiser that takes speech.

    Returns:
        Warped and corrected lower faces, (B, 3, 160, 192) in [-1, 1].

    Raises:
        TalkheadError: the device's memory is too small for a single frame.
    """
    limit = pipeline.limit
    while True:
        parts = (slice(k, k + limit.num_frames) for k in range(0, len(grid), limit.num_frames))
        try:
            done = [
                _correct_part(
                    pipeline,
                    small[part],
                    grid[part],
                    maps[part],
                    epsilon,
                    num_steps,
                    None if heard is None else heard[part],
                )
                for part in parts
            ]
            break
        except torch.OutOfMemoryError as error:
            limit.lower(pipeline.device, error)
    if len(done) == 1:
        return done[0]
    warped, made = (torch.cat(layers) for layers in zip(*done, strict=True))
    return warped, made


def _correct_part(
    pipeline: Pipeline,
    small: torch.Tensor,
    grid: torch.Tensor,
    maps: torch.Tensor,
    epsilon: torch.Tensor,
    num_steps: int,
    heard: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    warped = lower_face(warp_identity(small, grid, maps))
    conditions = lower_face(maps, maps.shape[-1] / CROP_SIDE_PX)
    enabled = pipeline.dtype != torch.float32
    with torch.autocast(pipeline.device.type, pipeline.dtype, enabled=enabled):
        made = correct(
            pipeline.autoencoder, pipeline.denoiser, warped, conditions, epsilon, num_steps, heard
        )
    return warped, made


def correct(
    autoencoder: Autoencoder,
    denoiser: Denoiser,
    warped: torch.Tensor,
    maps: torch.Tensor,
    epsilon: torch.Tensor,
    num_steps: int,
    heard: torch.Tensor | None = None,
) -> torch.Tensor:
    """Correct warped lower faces with the denoiser.

    Args:
        autoencoder: encodes and decodes the latents.
        denoiser: predicts the residual.
        warped: (B, 3, H, W) in [-1, 1].
        maps: (B, 9, H / 2, W / 2), conditioning maps of the same part of the crop.
        epsilon: (1, C, H / 8, W / 8), the initial noise that all frames share.
        num_steps: sampling steps.
        heard: (B, D), for a denoiser that takes speech.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    latents = autoencoder.encode(warped.contiguous(memory_format=torch.channels_last)).float()

    def denoise(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = denoiser(noisy, time, latents, maps, heard)
        return out

    *_, clean = sample_ddim(denoise, epsilon.expand_as(latents), num_steps)
    made = autoencoder.decode(latents + denoiser.config.residual_scale * clean).float()
    return (made + autoencoder.lost_detail(warped)).clamp(-1, 1)
