"""Second stage of the second system: render windows of frames by class-conditioned diffusion."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.emotions import EMOTIONS
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import to_ibug68
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.canvas import Canvas
from talkhead.landmarks2video.composite import FrameLayers, join_layers
from talkhead.landmarks2video.conditioning import draw_stage, warp_identity
from talkhead.landmarks2video.mask_noise.mask import mask_noise
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.landmarks2video.region import lower_face
from talkhead.landmarks2video.sampling import SamplerOptions, sample

Floats = npt.NDArray[np.float32]

START_STEP = 300
"""Start of sampling; the paper found it best for its own network."""


def shrink(crops: Tensor, size_px: int) -> Tensor:
    """Resize crops, (B, C, 256, 256), to the video denoiser's resolution."""
    if CROP_SIDE_PX % size_px == 0:
        return functional.avg_pool2d(crops, CROP_SIDE_PX // size_px)
    size = (size_px, size_px)
    return functional.interpolate(crops, size=size, mode="bilinear", antialias=True)


def enlarge_crops(small: Tensor) -> Tensor:
    """Resize what `shrink` made smaller, (B, C, S, S), to (B, C, 256, 256)."""
    return functional.interpolate(small, size=(CROP_SIDE_PX, CROP_SIDE_PX), mode="bicubic")


def small_points(meshes: Floats, size_px: int) -> Floats:
    """Return the 68 points of meshes, (T, 478, 3) in crop pixels, in pixels of small frames."""
    scale = np.float32(size_px / CROP_SIDE_PX)
    return np.ascontiguousarray(to_ibug68(meshes)[..., :2] * scale, np.float32)


def generate_window(
    model: VideoDenoiser,
    scheduler: Any,
    base: Tensor,
    points: Tensor,
    emotion: Tensor,
    noise: Tensor,
    epsilon: Tensor,
    options: SamplerOptions,
    *,
    has_masks: bool = True,
) -> Tensor:
    """Generate one window of frames.

    Args:
        model: the video denoiser.
        scheduler: a scheduler of diffusers.
        base: (T, 3, S, S) in [-1, 1], the frames to correct.
        points: (T, 68, 2), pixels of the frames.
        emotion: (8,), probabilities; zeros for no emotion.
        noise: (3, S, S), uniform in [-1, 1], the mask noise that all frames share.
        epsilon: (3, S, S), standard normal, the initial noise that all frames share; unused if
            the network diffuses frames.
        options: steps, start step and seed.
        has_masks: whether there is noise around the landmarks.

    Returns:
        (T, 3, S, S), in [-1, 1] except for overshoot of the network.
    """
    masked = mask_noise(base, points, noise, model.mask) if has_masks else base
    shape = base.shape

    def denoise(noisy: Tensor, time: Tensor) -> Tensor:
        def predict(emotion: Tensor) -> Tensor:
            seen = noisy.view(1, *shape), time, masked[None], base[None]
            predicted: Tensor = model(*seen, emotion[None])
            return predicted.flatten(1, 2).float()

        if model.config.guidance == 1:
            return predict(emotion)
        without = predict(torch.zeros_like(emotion))
        return torch.lerp(without, predict(emotion), model.config.guidance)

    diffuses_frames = model.config.diffuses == "frames"
    sampled = sample(
        denoise,
        epsilon.expand(shape).reshape(1, -1, *shape[2:]),
        scheduler,
        options,
        start_step=START_STEP if options.start_step is None else options.start_step,
        start=masked.reshape(1, -1, *shape[2:]) if diffuses_frames else None,
    ).view(shape)
    if diffuses_frames:
        return sampled
    frames: Tensor = base + model.config.residual_scale * sampled
    return frames


@dataclass(frozen=True)
class MaskNoiseRenderer:
    """Renders windows of frames by class-conditioned diffusion."""

    video_denoiser: VideoDenoiser
    scheduler: Any
    """A scheduler of diffusers."""
    device: torch.device
    dtype: torch.dtype
    """Precision of the computation; the tensors stay in float32."""
    limit: BatchLimit
    painter: None = None
    has_masks: bool = True
    """Whether the network sees noise around the landmarks; without, to measure what it does."""

    def layers(
        self,
        canvas: Canvas,
        windows: Iterator[Floats],
        options: SamplerOptions,
        emotion: Floats | None = None,
    ) -> Generator[Callable[[], FrameLayers], None, None]:
        """Yield functions that compute the layers of the frames, window by window.

        Each window is rendered with as many extra frames on both sides as the network's receptive
        field covers; these are discarded. The result equals that of one long window, so it has no
        seams. A network that diffuses frames takes hundreds of steps, too many for that: its
        windows stand alone, as in the paper.
        """
        model = self.video_denoiser
        generator = torch.Generator().manual_seed(options.seed)
        shape = (3, model.config.size_px, model.config.size_px)
        noise = (torch.rand(shape, generator=generator) * 2 - 1).to(self.device)
        epsilon = torch.randn(shape, generator=generator).to(self.device)
        known = np.zeros(len(EMOTIONS), np.float32) if emotion is None else emotion
        condition = torch.from_numpy(known).to(self.device)
        registration, own = model.registration(), canvas.mesh[0].cpu().numpy()
        meshes = (registration.apply(own, canvas.crop.to_crop(points)) for points in windows)
        reach = model.reach * options.num_steps  # each step widens the receptive field
        if model.config.diffuses == "frames":
            reach = 0
        for context in in_context(meshes, model.config.num_frames, reach):
            yield partial(
                self._layers_in_context,
                canvas,
                context,
                reach,
                emotion=condition,
                noise=noise,
                epsilon=epsilon,
                options=options,
            )

    @torch.inference_mode()
    def _layers_in_context(
        self,
        canvas: Canvas,
        context: tuple[Floats, Floats, Floats],
        reach: int,
        **inputs: Any,
    ) -> FrameLayers:
        """Render the layers of a window, in smaller parts if memory runs out."""
        before, points, after = context
        together = np.concatenate([before, points, after])
        first, stop = len(before), len(before) + len(points)
        parts: list[FrameLayers] = []
        while first < stop:
            size = self.limit.num_frames
            last = min(first + size, stop)
            low, high = max(first - reach, 0), min(last + reach, len(together))
            kept = slice(first - low, last - low)
            try:
                parts.append(self._window_layers(canvas, together[low:high], kept, **inputs))
            except torch.OutOfMemoryError as error:
                self.limit.lower(self.device, error, size)
                continue
            first = last
        return join_layers(parts)

    def _window_layers(
        self,
        canvas: Canvas,
        meshes: Floats,
        kept: slice,
        emotion: Tensor,
        noise: Tensor,
        epsilon: Tensor,
        options: SamplerOptions,
    ) -> FrameLayers:
        """Render the layers of a window, (T, 478, 3) in crop pixels; `kept` selects the frames."""
        model = self.video_denoiser
        size = model.config.size_px
        target = torch.from_numpy(meshes).to(self.device)
        shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
        warped = warp_identity(canvas.small.expand(len(target), -1, -1, -1), grid, maps)
        small = shrink(warped, size)
        base = small
        if model.config.base == "identity":
            base = shrink(canvas.small, size).expand_as(small)
        points = torch.from_numpy(small_points(meshes, size)).to(self.device)
        enabled = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=enabled):
            given = base, points, emotion, noise, epsilon, options
            generated = generate_window(
                model, self.scheduler, *given, has_masks=self.has_masks
            ).float()
        own = lower_face(warped[kept])
        if model.config.diffuses == "frames":
            whole = enlarge_crops(generated[kept]).clamp(-1, 1)
            return FrameLayers(shift[kept], maps[kept], target[kept], own, own, whole)
        # Add only the difference in the small frames: the warp keeps its own fine detail.
        added = enlarge_crops((generated - small)[kept])
        corrected = (own + lower_face(added)).clamp(-1, 1)
        return FrameLayers(shift[kept], maps[kept], target[kept], own, corrected)


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
