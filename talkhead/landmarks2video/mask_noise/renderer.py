"""Second stage of the second system: render windows of frames by class-conditioned diffusion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.audio2landmarks.speech_emotion import one_hot
from talkhead.emotions import NEUTRAL
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import to_ibug68
from talkhead.geometry.motion_basis import separate_lips
from talkhead.geometry.pose import fit_head_pose
from talkhead.landmarks2video.composite import Canvas
from talkhead.landmarks2video.conditioning import draw_stage, warp_identity
from talkhead.landmarks2video.diffusion import sample_ddim, schedule
from talkhead.landmarks2video.mask_noise.mask import mask_noise
from talkhead.landmarks2video.mask_noise.video_denoiser import (
    NUM_STEPS,
    VideoDenoiser,
    VideoDenoiserConfig,
)
from talkhead.landmarks2video.region import lower_face
from talkhead.landmarks2video.registration import registration_of

if TYPE_CHECKING:
    from talkhead.pipelines.networks import MaskNoisePipeline

Floats = npt.NDArray[np.float32]

START_STEP = 300
"""Start of sampling; the paper found it best for its own network."""


def shrink(crops: Tensor, size_px: int) -> Tensor:
    """Resize crops, (B, C, 256, 256), to the video denoiser's resolution."""
    if CROP_SIDE_PX % size_px == 0:
        return functional.avg_pool2d(crops, CROP_SIDE_PX // size_px)
    size = (size_px, size_px)
    return functional.interpolate(crops, size=size, mode="bilinear", antialias=True)


def base_frames(config: VideoDenoiserConfig, image: Tensor, grid: Tensor, maps: Tensor) -> Tensor:
    """Return the frames that the video denoiser corrects, (T, 3, S, S) in [-1, 1].

    Args:
        config: selects the repeated identity or its warp.
        image: (1, 3, 256, 256) in [-1, 1], the identity.
        grid: (T, 128, 128, 2), from `draw_maps`, one per frame.
        maps: (T, 9, 128, 128), from `draw_maps`.
    """
    size, count = config.size_px, len(grid)
    if config.base == "identity":
        return shrink(image, size).expand(count, -1, -1, -1)
    return shrink(warp_identity(image.expand(count, -1, -1, -1), grid, maps), size)


def points_of(config: VideoDenoiserConfig, meshes: Floats) -> Floats:
    """Return the 68 points of meshes, (T, 478, 3) in crop pixels, in pixels of small frames."""
    scale = np.float32(config.size_px / CROP_SIDE_PX)
    return np.ascontiguousarray(to_ibug68(meshes)[..., :2] * scale, np.float32)


def make_window(
    model: VideoDenoiser,
    base: Tensor,
    points: Tensor,
    emotion: Tensor,
    *,
    noise: Tensor,
    epsilon: Tensor,
    start_step: int,
    num_steps: int,
) -> Tensor:
    """Render one window of frames.

    Args:
        model: the video denoiser.
        base: (T, 3, S, S) in [-1, 1], from `base_frames`.
        points: (T, 68, 2), pixels of the frames.
        emotion: (8,), probabilities.
        noise: (3, S, S), uniform in [-1, 1], the mask noise that all frames share.
        epsilon: (3, S, S), standard normal, the initial noise that all frames share.
        start_step: out of `NUM_STEPS`, where sampling starts.
        num_steps: network evaluations.

    Returns:
        (T, 3, S, S), in [-1, 1] except for overshoot of the network.
    """
    seen = mask_noise(base, points, noise, model.config.mask)
    shape = base.shape

    def denoise(noisy: Tensor, time: Tensor) -> Tensor:
        clean: Tensor = model(noisy.view(1, *shape), time, seen[None], base[None], emotion[None])
        signal, noise_level = schedule(time)
        return (signal * noisy - clean.flatten(1, 2).float()) / noise_level

    first = epsilon.expand(shape).reshape(1, -1, *shape[2:])
    *_, residual = sample_ddim(denoise, first, num_steps, start_step / NUM_STEPS)
    return base + model.config.residual_scale * residual.view(shape)


@torch.inference_mode()
def mask_noise_layers(
    pipeline: MaskNoisePipeline,
    canvas: Canvas,
    windows: Iterator[Floats],
    *,
    emotion: Floats | None,
    num_steps: int,
    start_step: int,
    seed: int,
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the layers for `talkhead.landmarks2video.composite.composite`, window by window.

    Each window is rendered with as many extra frames on both sides as the network's receptive field
    covers; these are discarded. The result equals that of one long window, so it has no seams.

    Args:
        pipeline: the networks of mask-noise.
        canvas: the picture.
        windows: meshes (T, 478, 3) of the frames, pixels of the picture.
        emotion: (8,), probabilities; None is neutral, and leaves the meshes unchanged.
        num_steps: sampling steps.
        start_step: out of `NUM_STEPS`, where sampling starts.
        seed: random seed of all noise.
    """
    model, device, limit = pipeline.video_denoiser, pipeline.device, pipeline.limit
    generator = torch.Generator().manual_seed(seed)
    shape = (3, model.config.size_px, model.config.size_px)
    noise = (torch.rand(shape, generator=generator) * 2 - 1).to(device)
    epsilon = torch.randn(shape, generator=generator).to(device)
    feeling = one_hot(NEUTRAL)
    meshes = (canvas.crop.to_crop(points) for points in windows)
    if emotion is not None:
        feeling = emotion
        shape_of = np.tensordot(emotion, model.expressions.float().cpu().numpy(), 1)
        meshes = (express(points, shape_of) for points in meshes)
    registration, own = registration_of(model), canvas.mesh[0].cpu().numpy()
    meshes = (registration.apply(own, points) for points in meshes)
    felt = torch.from_numpy(feeling).to(device)
    reach = model.reach * num_steps  # each step widens the receptive field
    for before, points, after in in_context(meshes, model.config.num_frames, reach):
        together = np.concatenate([before, points, after])
        first, stop = len(before), len(before) + len(points)
        while first < stop:
            last = min(first + limit.num_frames, stop)
            low, high = max(first - reach, 0), min(last + reach, len(together))
            kept = slice(first - low, last - low)
            try:
                layers = _made(
                    pipeline,
                    canvas,
                    together[low:high],
                    kept,
                    felt,
                    noise=noise,
                    epsilon=epsilon,
                    start_step=start_step,
                    num_steps=num_steps,
                )
            except torch.OutOfMemoryError as error:
                limit.lower(device, error)
                continue
            first = last
            yield layers


def _made(
    pipeline: MaskNoisePipeline,
    canvas: Canvas,
    meshes: Floats,
    kept: slice,
    felt: Tensor,
    *,
    noise: Tensor,
    epsilon: Tensor,
    start_step: int,
    num_steps: int,
) -> tuple[Tensor, ...]:
    """Render the layers of a window, (T, 478, 3) in crop pixels; `kept` selects the frames."""
    model, device = pipeline.video_denoiser, pipeline.device
    size = model.config.size_px
    target = torch.from_numpy(meshes).to(device)
    shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
    warped = warp_identity(canvas.small.expand(len(target), -1, -1, -1), grid, maps)
    small = shrink(warped, size)
    base = small
    if model.config.base == "identity":
        base = shrink(canvas.small, size).expand_as(small)
    enabled = pipeline.dtype != torch.float32
    with torch.autocast(device.type, pipeline.dtype, enabled=enabled):
        made = make_window(
            model,
            base,
            torch.from_numpy(points_of(model.config, meshes)).to(device),
            felt,
            noise=noise,
            epsilon=epsilon,
            start_step=start_step,
            num_steps=num_steps,
        ).float()
    # Add only the difference in the small frames: the warp keeps its own fine detail.
    added = functional.interpolate(
        (made - small)[kept], size=(CROP_SIDE_PX, CROP_SIDE_PX), mode="bicubic"
    )
    own = lower_face(warped[kept])
    return shift[kept], maps[kept], target[kept], own, (own + lower_face(added)).clamp(-1, 1)


def express(meshes: Floats, expression: Floats) -> Floats:
    """Add an expression, (478, 3) in eye distances, to faces (T, 478, 3) in their head poses."""
    pose = fit_head_pose(meshes)
    turned = expression @ np.swapaxes(pose.rotation, -1, -2)
    return separate_lips(np.asarray(meshes + pose.scale[:, None, None] * turned, np.float32))


def in_context(
    windows: Iterator[Floats], num_frames: int, reach: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Split a stream of frames into windows, each with its neighbouring frames.

    Args:
        windows: chunks (T, ...) of the stream.
        num_frames: length of each output window; the last one may be shorter.
        reach: number of neighbours on either side, fewer at the ends of the stream.
    """
    before: Floats | None = None
    waiting: Floats | None = None
    for part in chain(windows, [None]):
        if part is not None:
            waiting = part if waiting is None else np.concatenate([waiting, part])
        least = 1 if part is None else num_frames + reach
        while waiting is not None and len(waiting) >= least:
            now, waiting = waiting[:num_frames], waiting[num_frames:]
            before = now[:0] if before is None else before
            yield before, now, waiting[:reach]
            before = np.concatenate([before, now])[-reach:] if reach else now[:0]
