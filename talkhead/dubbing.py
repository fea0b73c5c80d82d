"""Dubbing: a video's own frames and head, with lips and jaw that say something else."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from talkhead.face.composite import Canvas, composite, prepare_canvas
from talkhead.face.crop import Crop
from talkhead.face.maps import draw_stage
from talkhead.face.motion import (
    MotionBasis,
    close_lips,
    mouth_scale,
    rest_of_clip,
    separate_lips,
    spoken_region,
)
from talkhead.face.pose import fit_head_pose
from talkhead.face.shots import FaceTrack
from talkhead.media.ahead import run_ahead
from talkhead.synthesis import (
    BATCH_FRAMES,
    Pipeline,
    correct_frames,
    draw_noise,
    registration_of,
)

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

REST_SAMPLES = 200
"""Frames of a stretch from which the face at rest is measured."""
FADE_FRAMES = 4
"""Where a face comes into sight or is lost, new lips take over from its own in so many frames."""
MAX_WAITING = 32
"""Frames that wait for a batch to fill: others than those to dub wait with them, in order."""


@dataclass(frozen=True)
class DubbedFace:
    """What is to become of one frame.

    Attributes:
        mesh: (478, 3), as the frame shows it, pixels.
        target: (478, 3), as it is to be.
        crop: the square to work on.
        share: from 0, the frame as it is, to 1.
    """

    mesh: Floats
    target: Floats
    crop: Crop
    share: float


Item = tuple[Pixels, DubbedFace | None]
Layers = tuple[torch.Tensor, ...]


class Dubber:
    """Puts what was heard on the faces of a video.

    Args:
        track: the faces.
        basis: of the speech motion.
        expression_strength: scale of the speech motion.
    """

    def __init__(
        self, track: FaceTrack, basis: MotionBasis, expression_strength: float = 1.0
    ) -> None:
        self._track, self._basis, self._strength = track, basis, expression_strength
        self._rests: dict[int, Floats] = {}
        self._region = spoken_region(basis)[:, None]

    def rest(self, number: int) -> Floats:
        """Return the face at rest of a stretch, shape = (478, 3), face space, lips closed."""
        if number not in self._rests:
            shape, _ = rest_of_clip(self._track.samples(number, REST_SAMPLES))
            self._rests = {number: close_lips(shape, self._basis)}  # the last one is enough
        return self._rests[number]

    def follow(self, frame: int, target: Floats) -> DubbedFace | None:
        """Return what is to become of a frame whose mesh, (478, 3), is given; None without face."""
        number = self._track.stretch_at(frame)
        if number is None:
            return None
        mesh, crop = self._track.points_at(frame), self._track.crop_at(frame)
        return DubbedFace(mesh, target, crop, self._share(number, frame))

    def speak(self, frame: int, coefficients: Floats) -> DubbedFace | None:
        """Return what is to become of a frame, or None where it has no face to dub.

        Args:
            frame: of the video.
            coefficients: (K,), what the face says in it.
        """
        number = self._track.stretch_at(frame)
        if number is None:
            return None
        rest, mesh = self.rest(number), self._track.points_at(frame)
        pose = fit_head_pose(mesh, rest)
        own = pose.to_face(mesh)
        amount = mouth_scale(rest) * self._strength
        said = rest + self._basis.deform(coefficients[None], np.zeros(1, np.float32), amount)[0]
        # Around the mouth the face is the one at rest that speaks, elsewhere the frame's own.
        target = separate_lips((own + self._region * (said - own))[None])[0]
        return self.follow(frame, pose.to_picture(target))

    def _share(self, number: int, frame: int) -> float:
        stretch = self._track.stretches[number]
        inside = [1.0]
        if stretch.fades_in:
            inside.append((frame - stretch.start + 1) / (FADE_FRAMES + 1))
        if stretch.fades_out:
            inside.append((stretch.end - frame) / (FADE_FRAMES + 1))
        return min(inside)


def dub_frames(
    pipeline: Pipeline,
    frames: Iterable[Item],
    *,
    num_steps: int = 1,
    seed: int = 0,
) -> Iterator[Pixels]:
    """Dub the frames of a video.

    Reading and the networks, putting frames together, and the caller each work in a thread.

    Args:
        pipeline: the networks.
        frames: every frame, uint8 (H, W, 3), and what is to become of it; None leaves it alone.
        num_steps: sampling steps.
        seed: of the diffusion noise, one for all frames.

    Yields:
        The frames in their order, uint8 (H, W, 3).
    """
    batches = _lower_faces(pipeline, _batches(frames), num_steps, seed)
    yield from run_ahead(_composites(run_ahead(batches)), BATCH_FRAMES)


def _batches(frames: Iterable[Item]) -> Iterator[list[Item]]:
    """Collect frames until there are enough faces for the networks."""
    waiting: list[Item] = []
    num_faces = 0
    for item in frames:
        waiting.append(item)
        num_faces += item[1] is not None
        if num_faces == BATCH_FRAMES or len(waiting) == MAX_WAITING:
            yield waiting
            waiting, num_faces = [], 0
    if waiting:
        yield waiting


@torch.inference_mode()
def _lower_faces(
    pipeline: Pipeline, batches: Iterable[list[Item]], num_steps: int, seed: int
) -> Iterator[tuple[list[Item], list[Canvas], Layers]]:
    """Yield batches with the canvas of every face, and the layers of `composite`."""
    device = pipeline.device
    epsilon = draw_noise(pipeline, seed)
    registration = registration_of(pipeline.denoiser)
    for items in batches:
        faces = [(picture, face) for picture, face in items if face is not None]
        if not faces:
            yield items, [], ()
            continue
        canvases = [
            prepare_canvas(picture, face.mesh, device, face.crop) for picture, face in faces
        ]
        moved = []
        for canvas, (_, face) in zip(canvases, faces, strict=True):
            mesh = canvas.mesh[0].cpu().numpy()
            moved.append(registration.apply(mesh, canvas.crop.to_crop(face.target)[None])[0])
        target = torch.from_numpy(np.stack(moved)).to(device)
        meshes = torch.cat([canvas.mesh for canvas in canvases])
        bounds = torch.tensor([canvas.bounds for canvas in canvases], device=device)
        shift, grid, maps = draw_stage(meshes, target, bounds)
        small = torch.cat([canvas.small for canvas in canvases])
        warped, made = correct_frames(pipeline, small, grid, maps, epsilon, num_steps)
        yield items, canvases, (shift, maps, target, warped, made)


@torch.inference_mode()
def _composites(
    batches: Generator[tuple[list[Item], list[Canvas], Layers], None, None],
) -> Iterator[Pixels]:
    with closing(batches):
        for items, canvases, layers in batches:
            number = 0
            for picture, face in items:
                if face is None:
                    yield picture
                    continue
                one = slice(number, number + 1)
                frame = composite(canvases[number], *(layer[one] for layer in layers))[0]
                if face.share < 1:
                    mixed = picture + np.float32(face.share) * (frame.astype(np.float32) - picture)
                    frame = mixed.round().astype(np.uint8)
                yield frame
                number += 1
