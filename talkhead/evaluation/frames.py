"""The real clip in batches, with the faces in it and everything that does not depend on a system.

Frames are read in batches, so that memory does not grow with the clip. They have the size at which
their clip is stored; most measures are defined for crops of 256 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from talkhead.evaluation.image_metrics import flow_along, sharpness
from talkhead.evaluation.mouth_patches import MouthPatches, cut_mouths
from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.landmarks2video.conditioning import draw_maps
from talkhead.landmarks2video.masks import lower_face_mask
from talkhead.tracking.face_detector import FaceDetector

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

BATCH_FRAMES = 16
LIPS = (61, 291, 0, 17)
LIPS_ROOM_PX = 8
MAX_LENGTH_DIFFERENCE = 2
"""How many frames a video may be longer or shorter than the real clip."""
NO_FRAMES = np.zeros((0, CROP_SIDE_PX, CROP_SIDE_PX, 3), np.uint8)


@dataclass(frozen=True)
class Reference:
    """The real clip.

    Attributes:
        read_frames: yields uint8 crops from the start, (T, S, S, 3) in all, in batches.
        points: float32 (T, 478, 3), crop pixels, detected; nan in frames without a face.
        landmarks: float32 (T, 478, 3), crop pixels, those that are stored with the clip.
        fps: frames per second.
        quiet: bool (T,), frames in silence.
        moments_s: start and end of the sounds for which the lips close, seconds.
    """

    read_frames: Callable[[], Iterator[Pixels]]
    points: Floats
    landmarks: Floats
    rate_hz: float
    quiet: Mask
    moments_s: list[tuple[float, float]]


def in_batches(frames: Iterable[Pixels], size: int = BATCH_FRAMES) -> Iterator[Pixels]:
    """Yield frames, (H, W, 3) each, so many at a time, (T, H, W, 3); fewer in the end."""
    waiting: list[Pixels] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def to_crop_size(frames: Pixels) -> Pixels:
    """Resize frames, (T, S, S, 3), to the 256 px for which most measures are defined."""
    size = (CROP_SIDE_PX, CROP_SIDE_PX)
    if frames.shape[1:3] == size:
        return frames
    images = (Image.fromarray(frame) for frame in frames)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images])


def detect_points(batches: Iterable[Pixels]) -> Iterator[Floats]:
    """Yield the mesh of the largest face in every frame, (478, 3); nan if there is none."""
    with FaceDetector(video=True) as detector:
        for batch in batches:
            for frame in batch:
                yield detect_face(detector, frame)


def detect_face(detector: FaceDetector, frame: Pixels) -> Floats:
    """Return the mesh of the largest face in a frame, (478, 3); nan if there is none."""
    faces = detector.detect(frame)
    return faces[0] if faces else np.full((NUM_POINTS, 3), np.nan, np.float32)


@dataclass(frozen=True)
class RealBatch:
    """A batch of the real clip, and values shared by the comparisons with all systems.

    Attributes:
        stored: uint8 (T, S, S, 3), at the size at which the clip is stored.
        frames: uint8 (T, 256, 256, 3), the same frames.
        points: float32 (T, 478, 3), the detected faces, crop pixels; nan in frames without one.
        before: the real frame before the batch, (1, 256, 256, 3), or none, (0, 256, 256, 3).
        face: bool (T, 256, 256), the lower face; empty in frames without a face.
        face_before: the same for the frame before.
        lips: bool (T, 256, 256), the box around the lips.
        inside: bool (T, 256, 256), the inside of the open mouth.
        sharpness: of the lips and lower face, for every frame with a face.
        mouths: patches of the opened mouths.
        flow: from `flow_along`, for `before` and the frames; None if OpenCV cannot be loaded.
    """

    stored: Pixels
    frames: Pixels
    points: Floats
    before: Pixels
    face: Mask
    face_before: Mask
    lips: Mask
    inside: Mask
    sharpness: Mapping[str, list[float]]
    mouths: MouthPatches
    flow: npt.NDArray[np.float64] | None


def real_batches(reference: Reference) -> Iterator[RealBatch]:
    """Yield the real clip in batches, prepared for comparison."""
    with_flow = has_opencv()
    before = NO_FRAMES
    face_before = np.zeros(before.shape[:3], np.bool_)
    start = 0
    for stored in reference.read_frames():
        frames = to_crop_size(stored)
        points = reference.points[start : start + len(frames)]
        face, lips, inside = _masks(points)
        both = np.concatenate([before, frames])
        yield RealBatch(
            stored,
            frames,
            points,
            before,
            face,
            face_before,
            lips,
            inside,
            {
                name: [frame_sharpness(frames, mask, index) for index in frames_with_face(face)]
                for name, mask in (("lips", lips), ("face", face))
            },
            cut_mouths(stored, reference.landmarks[start : start + len(stored)], start),
            flow_along(both) if with_flow and len(both) > 1 else None,
        )
        before, face_before = frames[-1:], face[-1:]
        start += len(frames)


def has_opencv() -> bool:
    """Return whether OpenCV can be loaded: its wheel needs libraries that some machines lack."""
    try:
        import cv2  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def frames_with_face(face: Mask) -> list[int]:
    """Return the indices of frames with a lower face."""
    return [int(index) for index in np.flatnonzero(face.any((1, 2)))]


def frame_sharpness(frames: Pixels, mask: Mask, index: int) -> float:
    """Return the sharpness of one frame under its mask."""
    one = slice(index, index + 1)
    return sharpness(frames[one], mask[one])


def _masks(points: Floats) -> tuple[Mask, Mask, Mask]:
    """Return masks, (T, 256, 256) each, of the lower face, the lips' box, and the open mouth.

    They are empty in frames without a face.
    """
    seen = ~np.isnan(points[:, 0, 0])
    mesh = torch.from_numpy(np.nan_to_num(points))
    _, maps = draw_maps(mesh, mesh)

    def whole(mask: torch.Tensor) -> Mask:
        grown: Mask = (mask[:, 0] > 0.5).numpy().repeat(2, 1).repeat(2, 2)
        return np.asarray(grown & seen[:, None, None])

    face, inside = whole(lower_face_mask(mesh, maps)), whole(maps[:, :1])
    low = points[:, LIPS, :2].min(1) - LIPS_ROOM_PX
    high = points[:, LIPS, :2].max(1) + LIPS_ROOM_PX
    line = np.arange(CROP_SIDE_PX) + 0.5
    columns, rows = ((line > low[:, k, None]) & (line < high[:, k, None]) for k in (0, 1))
    return face, rows[:, :, None] & columns[:, None, :], inside
