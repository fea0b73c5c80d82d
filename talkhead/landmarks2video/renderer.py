"""Render frames from landmarks and a picture, and correct the lower face in latent space."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.face_areas import Area
from talkhead.geometry.windows import regroup, shorten
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.batching import BatchLimit, compute_in_order, window_frames
from talkhead.landmarks2video.canvas import Canvas, prepare_canvas
from talkhead.landmarks2video.composite import FrameLayers, composite, move_alpha
from talkhead.landmarks2video.conditioning import draw_stage, warp_lower_face
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mouth_painter import MouthPainter
from talkhead.landmarks2video.region import (
    LATENT_PX,
    REGION_HEIGHT_PX,
    REGION_WIDTH_PX,
    lower_face,
)
from talkhead.landmarks2video.sampling import SamplerOptions, sample
from talkhead.landmarks2video.sharpening import matching_sharpening, sharpen

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Renderer(Protocol):
    """Turns meshes into the layers of frames; each system has its own."""

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""

    @property
    def painter(self) -> MouthPainter | None:
        """Paints the insides of opened mouths; None leaves them as they are."""

    def layers(
        self,
        canvas: Canvas,
        windows: Iterator[Floats],
        options: SamplerOptions,
        emotion: Floats | None = None,
    ) -> Generator[Callable[[], FrameLayers], None, None]:
        """Yield functions that compute the layers of the frames, window by window.

        They may be called in several threads at a time, as long as they start in order.

        Args:
            canvas: the picture.
            windows: meshes (T, 478, 3) of the frames, pixels of the picture.
            options: steps and seed.
            emotion: (8,), probabilities of the emotions, for networks that they condition; None
                for no emotion.
        """


@dataclass(frozen=True)
class MovingFace:
    """A face in a picture, and how it moves."""

    identity: Floats
    """(478, 3), its mesh in the picture, pixels."""
    windows: Iterator[Floats]
    """Meshes (T, 478, 3) of the frames, pixels of the picture."""
    options: SamplerOptions = field(default_factory=SamplerOptions)
    emotion: Floats | None = None
    """(8,), probabilities of the emotions; None for no emotion."""
    area: Area | None = None
    """The part of the picture that may change; None for all of it."""


def render_frames(
    renderer: Renderer,
    picture: Pixels,
    identity: Floats,
    windows: Iterator[Floats],
    options: SamplerOptions | None = None,
    *,
    emotion: Floats | None = None,
    alpha: Pixels | None = None,
    area: Area | None = None,
    num_workers: int | None = None,
) -> Generator[Pixels, None, None]:
    """Render frames of a picture from landmarks.

    Windows do not depend on each other: each is computed by one thread, from the correction to the
    painted mouth. The frames are the same for any number of threads.

    Args:
        renderer: the networks.
        picture: uint8 (H, W, 3).
        identity: (478, 3), the mesh in the picture, pixels.
        windows: meshes (T, 478, 3) of the frames, pixels of the picture.
        options: steps and seed; None for one step.
        emotion: (8,), probabilities of the emotions; None for no emotion.
        alpha: uint8 (H, W), how much of each pixel is the person; None for a whole picture.
        area: the part of the picture that may change; None for all of it.
        num_workers: number of threads; None for as many as suit the device, 0 to compute a window
            when it is asked for, in the caller's thread.

    Yields:
        uint8 (T, H, W, 3), or (T, H, W, 4) with an alpha.
    """
    face = MovingFace(identity, windows, options or SamplerOptions(), emotion, area)
    return render_faces(renderer, picture, [face], alpha=alpha, num_workers=num_workers)


def render_faces(
    renderer: Renderer,
    picture: Pixels,
    faces: Sequence[MovingFace],
    *,
    alpha: Pixels | None = None,
    num_workers: int | None = None,
) -> Generator[Pixels, None, None]:
    """Render frames of a picture in which several faces move, as `render_frames` does for one.

    Args:
        renderer: the networks.
        picture: uint8 (H, W, 3).
        faces: with areas that do not overlap, and equally long windows.
        alpha: as for `render_frames`.
        num_workers: as for `render_frames`.

    Yields:
        uint8 (T, H, W, 3), or (T, H, W, 4) with an alpha.
    """
    canvases = [
        prepare_canvas(picture, face.identity, renderer.device, area=face.area) for face in faces
    ]
    length = window_frames(renderer.device, picture.size)
    if renderer.device.type == "cpu":
        faces = [replace(face, windows=shorten(face.windows, length)) for face in faces]
    elif num_workers != 0:
        faces = [replace(face, windows=regroup(face.windows, length)) for face in faces]
    paints = [_painting(renderer.painter, picture, face.identity, face.options) for face in faces]

    @torch.inference_mode()
    def finish(computes: tuple[Callable[[], FrameLayers], ...]) -> Pixels:
        frames: Pixels | None = None
        shown: Pixels | None = None
        for canvas, paint, compute in zip(canvases, paints, computes, strict=True):
            layers = compute()
            frames = composite(canvas, layers, frames)
            paint(frames, canvas.crop.to_picture(layers.target.cpu().numpy()))
            if alpha is not None:
                shown = move_alpha(canvas, layers, alpha, shown)
        assert frames is not None
        return frames if shown is None else np.concatenate([frames, shown[..., None]], -1)

    def windows() -> Generator[tuple[Callable[[], FrameLayers], ...], None, None]:
        sources = [
            renderer.layers(canvas, face.windows, face.options, face.emotion)
            for canvas, face in zip(canvases, faces, strict=True)
        ]
        with ExitStack() as stack:
            for source in sources:
                stack.enter_context(closing(source))
            yield from zip(*sources, strict=True)

    yield from compute_in_order(finish, windows(), renderer.device, picture.size, num_workers)


def _painting(
    painter: MouthPainter | None, picture: Pixels, identity: Floats, options: SamplerOptions
) -> Callable[[Pixels, Floats], None]:
    """Return a function that paints opened mouths into frames with meshes, in place."""
    if painter is None:
        return lambda frames, meshes: None
    reference = painter.reference(picture[None], identity[None])
    epsilon = painter.draw_noise(options.seed)
    return partial(painter.paint, reference=reference, epsilon=epsilon, options=options)


@dataclass(frozen=True)
class LatentRenderer:
    """Warps the picture, and corrects the lower face with a latent denoiser."""

    autoencoder: Autoencoder
    denoiser: Denoiser
    scheduler: Any
    """A scheduler of diffusers."""
    device: torch.device
    dtype: torch.dtype
    """Precision of the computation; the tensors stay in float32."""
    limit: BatchLimit = field(default_factory=BatchLimit)
    painter: MouthPainter | None = None

    def layers(
        self,
        canvas: Canvas,
        windows: Iterator[Floats],
        options: SamplerOptions,
        emotion: Floats | None = None,
    ) -> Generator[Callable[[], FrameLayers], None, None]:
        """Yield functions that compute the layers of the frames, window by window."""
        del emotion
        registration = self.denoiser.registration()
        own_mesh = canvas.mesh[0].cpu().numpy()
        epsilon = self.draw_noise(options.seed)
        if self.painter is not None:
            options = SamplerOptions()  # a mean, which takes one step; the mouth is sampled later
        # Warps and networks soften; the first window measures by how much, for all of them.
        sharpening: Future[float] = Future()
        for number, points in enumerate(windows):
            moved = registration.apply(own_mesh, canvas.crop.to_crop(points))
            target = torch.from_numpy(moved).to(self.device)
            measured = sharpening if number == 0 else None
            yield partial(
                self._window_layers, canvas, target, epsilon, options, sharpening, measured
            )

    @torch.inference_mode()
    def _window_layers(
        self,
        canvas: Canvas,
        target: Tensor,
        epsilon: Tensor,
        options: SamplerOptions,
        sharpening: Future[float],
        measured: Future[float] | None,
    ) -> FrameLayers:
        """Compute the layers of one window; sets `measured`, or waits for the first window."""
        try:
            shift, grid, maps = draw_stage(canvas.mesh, target, canvas.bounds)
            small = canvas.small.expand(len(target), -1, -1, -1)
            warped, generated = self.correct_frames(small, grid, maps, epsilon, options)
            if measured is not None:
                measured.set_result(matching_sharpening(generated, lower_face(canvas.small)))
        except BaseException as error:
            if measured is not None:
                measured.set_exception(error)
            raise
        return FrameLayers(shift, maps, target, warped, sharpen(generated, sharpening.result()))

    def draw_noise(self, seed: int) -> Tensor:
        """Draw the initial noise that all frames share, shape = (1, C, 20, 24)."""
        generator = torch.Generator().manual_seed(seed)
        channels = self.denoiser.config.latent_channels
        shape = (1, channels, REGION_HEIGHT_PX // LATENT_PX, REGION_WIDTH_PX // LATENT_PX)
        return torch.randn(shape, generator=generator).to(self.device)

    def correct_frames(
        self, small: Tensor, grid: Tensor, maps: Tensor, epsilon: Tensor, options: SamplerOptions
    ) -> tuple[Tensor, Tensor]:
        """Warp crops and correct their lower faces, in smaller batches if memory runs out.

        Args:
            small: (B, 3, 256, 256) in [-1, 1].
            grid: (B, 128, 128, 2), from `draw_stage`.
            maps: (B, 9, 128, 128), from `draw_stage`.
            epsilon: (1, C, 20, 24), the initial noise that all frames share.
            options: steps and seed.

        Returns:
            Warped and corrected lower faces, (B, 3, 160, 192) in [-1, 1].

        Raises:
            TalkheadError: the device's memory is too small for a single frame.
        """
        while True:
            size = self.limit.num_frames
            parts = (slice(start, start + size) for start in range(0, len(grid), size))
            try:
                done = [
                    self._correct_part(small[part], grid[part], maps[part], epsilon, options)
                    for part in parts
                ]
                break
            except torch.OutOfMemoryError as error:
                self.limit.lower(self.device, error, size)
        if len(done) == 1:
            return done[0]
        warped, generated = (torch.cat(layers) for layers in zip(*done, strict=True))
        return warped, generated

    def _correct_part(
        self, small: Tensor, grid: Tensor, maps: Tensor, epsilon: Tensor, options: SamplerOptions
    ) -> tuple[Tensor, Tensor]:
        warped = warp_lower_face(small, grid, maps)
        conditions = lower_face(maps, maps.shape[-1] / CROP_SIDE_PX)
        enabled = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=enabled):
            generated = correct(
                self.autoencoder,
                self.denoiser,
                self.scheduler,
                warped,
                conditions,
                epsilon,
                options,
            )
        return warped, generated


def correct(
    autoencoder: Autoencoder,
    denoiser: Denoiser,
    scheduler: Any,
    warped: Tensor,
    maps: Tensor,
    epsilon: Tensor,
    options: SamplerOptions,
) -> Tensor:
    """Correct warped lower faces with the denoiser.

    Args:
        autoencoder: encodes and decodes the latents.
        denoiser: predicts the residual.
        scheduler: a scheduler of diffusers.
        warped: (B, 3, H, W) in [-1, 1].
        maps: (B, 9, H / 2, W / 2), conditioning maps of the same part of the crop.
        epsilon: (1, C, H / 8, W / 8), the initial noise that all frames share.
        options: steps and seed.

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    latents = autoencoder.encode(warped.contiguous(memory_format=torch.channels_last)).float()

    def denoise(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = denoiser(noisy, time, latents, maps)
        return velocity

    clean = sample(
        denoise,
        epsilon.expand_as(latents),
        scheduler,
        options,
        start_step=options.start_step,
    )
    decoded = autoencoder.decode(latents + denoiser.config.residual_scale * clean).float()
    return (decoded + autoencoder.lost_detail(warped)).clamp(-1, 1)
