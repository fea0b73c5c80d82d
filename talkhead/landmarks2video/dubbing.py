"""Dubbing: keeps a video's frames and head motion, and replaces the motion of lips and jaw."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from talkhead.geometry.crop import Crop
from talkhead.geometry.face_areas import Area
from talkhead.geometry.motion_basis import (
    MotionBasis,
    close_lips,
    mouth_scale,
    rest_of_clip,
    separate_lips,
    spoken_region,
)
from talkhead.geometry.pose import HeadPose, fit_head_pose
from talkhead.geometry.skin_registration import Registration
from talkhead.landmarks2video.batching import compute_in_order, window_frames
from talkhead.landmarks2video.canvas import Canvas, prepare_canvas
from talkhead.landmarks2video.closed_mouth import fill_closing_mouth
from talkhead.landmarks2video.composite import FrameLayers, composite
from talkhead.landmarks2video.conditioning import draw_stage
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mouth_painter import MouthPainter
from talkhead.landmarks2video.sampling import SamplerOptions
from talkhead.tracking.face_track import FaceTrack

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

REST_SAMPLES = 200
"""Number of a stretch's frames from which the face at rest is measured."""
FADE_FRAMES = 4
"""Where a face appears or is lost, dubbed and original lips cross-fade over this many frames."""
REGISTERED_PX = 1.0
"""Points that move this far, in crop pixels, are registered fully, nearer ones in part."""


@dataclass(frozen=True)
class DubbedFace:
    """The edit to make to one frame.

    Attributes:
        mesh: (478, 3), the face in the frame, pixels.
        target: (478, 3), the face to render, pixels.
        crop: the square to work on.
        share: blend weight, from 0 (original frame) to 1 (dubbed).
        area: the part of the frame that may change; None for all of it.
    """

    mesh: Floats
    target: Floats
    crop: Crop
    share: float
    area: Area | None = None


Item = tuple[Pixels, DubbedFace | None]
SharedItem = tuple[Pixels, Sequence[DubbedFace | None]]
"""A frame, and one edit for each of several people."""


@dataclass(frozen=True)
class DubbedPerson:
    """What is the same in all frames of one person."""

    options: SamplerOptions = field(default_factory=SamplerOptions)
    """Steps and seed."""
    reference: torch.Tensor | None = None
    """A mouth of the person, from `MouthPainter.reference`; None takes every frame's own."""


class Dubber:
    """Applies speech motion to the face in a video.

    Args:
        track: the face.
        basis: speech motion basis.
        expression_strength: scale of the speech motion.
    """

    def __init__(
        self, track: FaceTrack, basis: MotionBasis, expression_strength: float = 1.0
    ) -> None:
        self._track, self._basis, self._strength = track, basis, expression_strength
        self._rests: dict[int, Floats] = {}
        self._region = spoken_region(basis)[:, None]

    def rest(self, number: int) -> Floats:
        """Return a stretch's face at rest with lips closed, shape = (478, 3), face space."""
        if number not in self._rests:
            shape, _ = rest_of_clip(self._track.samples(number, REST_SAMPLES))
            self._rests = {number: close_lips(shape, self._basis)}  # caching one is enough
        return self._rests[number]

    def follow(self, frame: int, target: Floats) -> DubbedFace | None:
        """Return the edit that moves a frame's face to a mesh, (478, 3); None without a face."""
        number = self._track.stretch_at(frame)
        if number is None:
            return None
        own, pose = self._shape(number, frame)
        crop = self._track.crop_at(frame)
        return DubbedFace(pose.to_picture(own), target, crop, self._share(number, frame))

    def speak(self, frame: int, coefficients: Floats) -> DubbedFace | None:
        """Return the edit for a frame, or None if it has no face to dub.

        Args:
            frame: number of the frame in the video.
            coefficients: (K,), its speech motion.
        """
        number = self._track.stretch_at(frame)
        if number is None:
            return None
        rest = self.rest(number)
        own, pose = self._shape(number, frame)
        amount = mouth_scale(rest) * self._strength
        said = rest + self._basis.deform(coefficients[None], np.zeros(1, np.float32), amount)[0]
        # Around the mouth the face is the rest face plus speech; elsewhere it is the frame's own.
        target = separate_lips((own + self._region * (said - own))[None])[0]
        return self.follow(frame, pose.to_picture(target))

    def _shape(self, number: int, frame: int) -> tuple[Floats, HeadPose]:
        """Return a frame's face, (478, 3), face space, and the pose of its head.

        Lips are too fast to be smoothed as the head is: closing lips would be found where they were
        a frame before, and their teeth would remain in the dubbed frame.
        """
        rest, smooth = self.rest(number), self._track.points_at(frame)
        detected = self._track.detected_points(frame, frame + 1)[0]
        pose = fit_head_pose(smooth, rest)
        own = pose.to_face(smooth)
        lips = fit_head_pose(detected, rest).to_face(detected)
        return np.asarray(own + self._region * (lips - own), np.float32), pose

    def _share(self, number: int, frame: int) -> float:
        stretch = self._track.stretches[number]
        inside = [1.0]
        if stretch.fades_in:
            inside.append((frame - stretch.start + 1) / (FADE_FRAMES + 1))
        if stretch.fades_out:
            inside.append((stretch.end - frame) / (FADE_FRAMES + 1))
        return min(inside)


class FaceRenderer(Protocol):
    """A renderer that corrects single faces, each in a picture of its own."""

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""

    @property
    def denoiser(self) -> Denoiser:
        """Its skin registration moves the meshes."""

    @property
    def painter(self) -> MouthPainter | None:
        """Paints the insides of opened mouths; None leaves them as they are."""

    def draw_noise(self, seed: int) -> torch.Tensor:
        """Draw the noise that all frames share: see `LatentRenderer`."""

    def correct_frames(
        self,
        small: torch.Tensor,
        grid: torch.Tensor,
        maps: torch.Tensor,
        epsilon: torch.Tensor,
        options: SamplerOptions,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp crops and correct their lower faces: see `LatentRenderer`."""


def dub_frames(
    renderer: FaceRenderer,
    frames: Iterable[Item],
    options: SamplerOptions | None = None,
    reference: torch.Tensor | None = None,
) -> Generator[Pixels, None, None]:
    """Dub the frames of a video.

    Args:
        renderer: the networks.
        frames: every frame, uint8 (H, W, 3), with its edit; None leaves the frame unchanged.
        options: steps and seed; None for one step.
        reference: a mouth of the person, from `MouthPainter.reference`; None takes every frame's
            own.

    Yields:
        The frames in order, uint8 (H, W, 3).
    """
    person = DubbedPerson(options or SamplerOptions(), reference)
    return dub_people(renderer, ((frame, (face,)) for frame, face in frames), [person])


def dub_batches(
    renderer: FaceRenderer,
    batches: Generator[list[Item], None, None],
    options: SamplerOptions | None = None,
    reference: torch.Tensor | None = None,
    *,
    num_workers: int | None = None,
) -> Generator[Pixels, None, None]:
    """Dub batches of frames; arguments as for `dub_frames` and `compute_in_order`."""
    person = DubbedPerson(options or SamplerOptions(), reference)

    def shared() -> Generator[list[SharedItem], None, None]:
        with closing(batches):
            for batch in batches:
                yield [(frame, (face,)) for frame, face in batch]

    yield from _dub_people(renderer, shared(), [person], num_workers)


def dub_people(
    renderer: FaceRenderer, frames: Iterable[SharedItem], people: Sequence[DubbedPerson]
) -> Generator[Pixels, None, None]:
    """Dub the frames of a video in which several people speak, as `dub_frames` does for one.

    Args:
        renderer: the networks.
        frames: every frame, uint8 (H, W, 3), with its edits, one per person.
        people: who is dubbed, in the order of the edits.

    Yields:
        The frames in order, uint8 (H, W, 3).
    """
    return _dub_people(renderer, _batches(frames, renderer.device), people, None)


def _dub_people(
    renderer: FaceRenderer,
    batches: Generator[list[SharedItem], None, None],
    people: Sequence[DubbedPerson],
    num_workers: int | None,
) -> Generator[Pixels, None, None]:
    with closing(batches):
        if (first := next(batches, None)) is None:
            return
        dubbings = [_Dubbing.of(renderer, each.options, each.reference) for each in people]
        source = (batch for batch in chain([first], batches))
        picture, _ = first[0]

        def frames_of(items: list[SharedItem]) -> list[Pixels]:
            frames = [frame for frame, _ in items]
            for number, dubbing in enumerate(dubbings):
                edits = [faces[number] for _, faces in items]
                frames = dubbing.frames_of(list(zip(frames, edits, strict=True)))
            return frames

        dubbed = compute_in_order(frames_of, source, renderer.device, picture.size, num_workers)
        with closing(dubbed):
            for frames in dubbed:
                yield from frames


def _batches(
    frames: Iterable[SharedItem], device: torch.device
) -> Generator[list[SharedItem], None, None]:
    """Collect windows of frames, with and without faces."""
    waiting: list[SharedItem] = []
    for item in frames:
        waiting.append(item)
        if len(waiting) == window_frames(device, item[0].size):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


@dataclass(frozen=True)
class _Dubbing:
    """Dubs batches of frames, which do not depend on each other."""

    renderer: FaceRenderer
    options: SamplerOptions
    """Those of the mouth, or of the lower face where no mouth is painted."""
    epsilon: torch.Tensor
    """Initial noise of the lower faces."""
    mouth_epsilon: torch.Tensor | None
    mouth_gain: float
    reference: torch.Tensor | None
    registration: Registration

    @classmethod
    def of(
        cls, renderer: FaceRenderer, options: SamplerOptions, reference: torch.Tensor | None
    ) -> _Dubbing:
        """Draw the noise that all frames share."""
        painter, gain = renderer.painter, 1.0
        if painter is not None and options.num_steps == 1:
            gain = painter.denoiser.config.dubbing_gain
        return cls(
            renderer,
            options,
            renderer.draw_noise(options.seed),
            None if painter is None else painter.draw_noise(options.seed),
            gain,
            reference,
            renderer.denoiser.registration(),
        )

    @torch.inference_mode()
    def frames_of(self, items: list[Item]) -> list[Pixels]:
        """Return the dubbed frames of a batch, uint8 (H, W, 3) each."""
        faces = [(picture, face) for picture, face in items if face is not None]
        dubbed = iter(self._dub(faces) if faces else ())
        frames = []
        for picture, face in items:
            frame = picture if face is None else next(dubbed)
            if face is not None and face.share < 1:
                mixed = picture + np.float32(face.share) * (frame.astype(np.float32) - picture)
                frame = mixed.round().astype(np.uint8)
            frames.append(frame)
        return frames

    def _dub(self, faces: list[tuple[Pixels, DubbedFace]]) -> Pixels:
        """Dub frames that have a face, uint8 (B, H, W, 3)."""
        device = self.renderer.device
        canvases = [
            prepare_canvas(
                fill_closing_mouth(picture, face.mesh, face.target, device),
                face.mesh,
                device,
                face.crop,
                face.area,
            )
            for picture, face in faces
        ]
        layers = self._layers(canvases, [face.target for _, face in faces])
        frames = np.stack([canvas.picture for canvas in canvases])
        for number, canvas in enumerate(canvases):
            one = slice(number, number + 1)
            composite(canvas, layers[one], frames[one])
        painter = self.renderer.painter
        if painter is not None and self.mouth_epsilon is not None:
            reference = self.reference
            if reference is None:
                meshes = np.stack([face.mesh for _, face in faces])
                reference = painter.reference(np.stack([p for p, _ in faces]), meshes)
            targets = layers.target.cpu().numpy()
            moved = [c.crop.to_picture(t) for c, t in zip(canvases, targets, strict=True)]
            painter.paint(
                frames,
                np.stack(moved),
                reference,
                self.mouth_epsilon,
                self.options,
                self.mouth_gain,
            )
        return frames

    def _layers(self, canvases: list[Canvas], targets: list[Floats]) -> FrameLayers:
        """Correct the lower faces for `composite`."""
        device = self.renderer.device
        moved = [
            self._registered(canvas.mesh[0].cpu().numpy(), canvas.crop.to_crop(target))
            for canvas, target in zip(canvases, targets, strict=True)
        ]
        target = torch.from_numpy(np.stack(moved)).to(device)
        meshes = torch.cat([canvas.mesh for canvas in canvases])
        bounds = torch.tensor([canvas.bounds for canvas in canvases], device=device)
        shift, grid, maps = draw_stage(meshes, target, bounds)
        small = torch.cat([canvas.small for canvas in canvases])
        # With a painter the lower face is a mean, which takes one step.
        options = self.options if self.renderer.painter is None else SamplerOptions()
        warped, generated = self.renderer.correct_frames(small, grid, maps, self.epsilon, options)
        return FrameLayers(shift, maps, target, warped, generated)

    def _registered(self, mesh: Floats, target: Floats) -> Floats:
        """Return where the skin of a mesh goes, (478, 3), crop pixels.

        When the mouth opens, the model moves the whole face a little. What the target leaves where
        it is, as eyes and ears, stays as it was filmed.
        """
        registered = self.registration.apply(mesh, target[None])[0]
        moved_px = np.linalg.norm((target - mesh)[:, :2], axis=-1, keepdims=True)
        share = np.clip(moved_px / REGISTERED_PX, 0, 1)
        return np.asarray(target + share * (registered - target), np.float32)
