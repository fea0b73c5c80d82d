"""Score frames, and the faces in them, against the real ones.

Both are crops of 256 px. The same detector runs on both, in order, as on a video. Frames are read
in batches, so that memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from talkhead.errors import TalkheadError
from talkhead.evaluation.image_metrics import (
    flicker,
    flow_along,
    frame_errors,
    psnr_of,
    sharpness,
    squared_errors,
    ssim_map,
    temporal_mse,
    whole_windows,
)
from talkhead.evaluation.landmark_metrics import inner_opening, landmark_values, life_values
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
MIN_MOUTH_PIXELS = 40
"""Mouths with fewer visible pixels inside are not scored there."""
MAX_LENGTH_DIFFERENCE = 2


class PairScorer(Protocol):
    """An additional scorer of frame pairs: a network of `talkhead.evaluation.networks`."""

    def add(self, made: Pixels, real: Pixels) -> None:
        """Score a batch of frames, (T, 256, 256, 3) each."""

    def finish(self) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the clip's values, and features for measures of whole sets."""


@dataclass(frozen=True)
class Reference:
    """The real clip.

    Attributes:
        frames: uint8 crops, (T, 256, 256, 3) in all, in batches; iterable more than once.
        points: float32 (T, 478, 3), crop pixels; nan in frames without a face.
        fps: frames per second.
        quiet: bool (T,), frames in silence.
        moments_s: start and end of the sounds for which the lips close, seconds.
    """

    frames: Iterable[Pixels]
    points: Floats
    fps: float
    quiet: Mask
    moments_s: list[tuple[float, float]]


@dataclass(frozen=True)
class FrameScores:
    """Scores of one video, from a `VideoScorer`.

    Attributes:
        values: scores by the measure's key.
        points: float32 (T, 478, 3), the detected faces, nan in frames without one.
        arrays: features for measures of whole sets, by network name.
    """

    values: dict[str, float]
    points: Floats
    arrays: Mapping[str, Floats]

    @property
    def opening(self) -> Floats:
        """The mouth opening, (T,), eye distances."""
        return inner_opening(self.points)


@dataclass(frozen=True)
class RealBatch:
    """A batch of the real clip, and values shared by the comparisons with all systems.

    Attributes:
        frames: uint8 (T, 256, 256, 3).
        before: the real frame before the batch, (1, 256, 256, 3), or none, (0, 256, 256, 3).
        face: bool (T, 256, 256), the lower face; empty in frames without a face.
        face_before: the same for the frame before.
        lips: bool (T, 256, 256), the box around the lips.
        inside: bool (T, 256, 256), the inside of the open mouth.
        sharpness: of the lips and lower face, for every frame with a face.
        flow: from `flow_along`, for `before` and the frames; None if OpenCV cannot be loaded.
    """

    frames: Pixels
    before: Pixels
    face: Mask
    face_before: Mask
    lips: Mask
    inside: Mask
    sharpness: Mapping[str, list[float]]
    flow: npt.NDArray[np.float64] | None


def real_batches(reference: Reference) -> Iterator[RealBatch]:
    """Yield the real clip in batches, prepared for comparison."""
    with_flow = flow_is_there()
    before = np.zeros((0, CROP_SIDE_PX, CROP_SIDE_PX, 3), np.uint8)
    face_before = np.zeros(before.shape[:3], np.bool_)
    start = 0
    for frames in reference.frames:
        face, lips, inside = _places(reference.points[start : start + len(frames)])
        both = np.concatenate([before, frames])
        yield RealBatch(
            frames,
            before,
            face,
            face_before,
            lips,
            inside,
            {
                name: [_sharpness(frames, mask, index) for index in _with_face(face)]
                for name, mask in (("lips", lips), ("face", face))
            },
            flow_along(both) if with_flow and len(both) > 1 else None,
        )
        before, face_before = frames[-1:], face[-1:]
        start += len(frames)


class VideoScorer:
    """Scores one video, batch by batch.

    Args:
        looks: networks that score the frames as well.
    """

    def __init__(self, looks: Sequence[PairScorer] = ()) -> None:
        self._looks = looks
        self._rows: dict[str, list[float]] = {}
        self._faces: list[Floats] = []
        self._num_made = self._num_real = 0
        self._before = np.zeros((0, CROP_SIDE_PX, CROP_SIDE_PX, 3), np.uint8)
        self._detector = FaceDetector(video=True)

    def close(self) -> None:
        """Free the face detector."""
        self._detector.close()

    def add(self, made: Pixels, real: RealBatch | None) -> None:
        """Score a batch; `real` is None for frames beyond the real clip's end."""
        self._num_made += len(made)
        if real is None:
            return
        self._num_real += len(real.frames)
        count = min(len(made), len(real.frames))
        if not count:
            return
        made = made[:count]
        for frame in made:
            found = self._detector.detect(frame)
            self._faces.append(found[0] if found else np.full((NUM_POINTS, 3), np.nan, np.float32))
        self._score_frames(made, real)
        self._score_changes(made, real)
        self._before = made[-1:]
        for look in self._looks:
            look.add(made, real.frames[:count])

    def _note(self, name: str, values: Iterable[float]) -> None:
        self._rows.setdefault(name, []).extend(values)

    def _score_frames(self, made: Pixels, real: RealBatch) -> None:
        count = len(made)
        errors = squared_errors(made, real.frames[:count])
        whole = frame_errors(errors)
        self._note("mse", whole)
        self._note("psnr", psnr_of(whole))
        windows = whole_windows(made.shape[1:3])
        for index in range(count):
            similar = ssim_map(made[index], real.frames[index])
            self._note("ssim", [similar[windows].mean()])
            if real.face[index].any():
                self._note("lower_ssim", [similar[real.face[index]].mean()])
        for name, mask in (("lower", real.face), ("lips", real.lips), ("mouth", real.inside)):
            enough = MIN_MOUTH_PIXELS if name == "mouth" else 1
            there = mask[:count].sum((1, 2)) >= enough
            self._note(f"{name}_psnr", psnr_of(frame_errors(errors, mask[:count])[there]))
        for name, mask in (("lips", real.lips), ("face", real.face)):
            own = [_sharpness(made, mask, index) for index in _with_face(real.face[:count])]
            self._note(f"{name}_sharpness", own)
            self._note(f"real_{name}_sharpness", real.sharpness[name][: len(own)])

    def _score_changes(self, made: Pixels, real: RealBatch) -> None:
        ours = np.concatenate([self._before, made])
        theirs = np.concatenate([real.before, real.frames[: len(made)]])
        face = np.concatenate([real.face_before, real.face[: len(made)]])
        for index in range(1, len(ours)):
            two = slice(index - 1, index + 1)
            if face[two].all(0).any():
                self._note("flicker", [flicker(ours[two], theirs[two], face[two])])
            if real.flow is not None:
                moved = temporal_mse(ours[two], real.flow[index - 1 : index])
                self._note("pixel_mse", [moved])

    def finish(self, reference: Reference, *, is_aligned: bool = True) -> FrameScores:
        """Return the scores.

        Args:
            reference: the real clip.
            is_aligned: whether the head poses match; if not, landmarks are centred first.

        Raises:
            TalkheadError: the lengths differ by more than two frames.
        """
        if abs(self._num_made - self._num_real) > MAX_LENGTH_DIFFERENCE or not self._faces:
            raise TalkheadError(
                f"it has {self._num_made} frames, but the real clip has {self._num_real}"
            )
        points = np.stack(self._faces)
        values = {name: float(np.mean(row)) for name, row in self._rows.items() if row}
        for name in ("lips_sharpness", "face_sharpness"):
            real, own = values.pop(f"real_{name}", 0.0), values.pop(name, None)
            if own is not None and real > 0:
                values[name] = own / real
        if same := self._rows["mse"].count(0.0):
            values["identical_frames"] = float(same)
        count = len(points)
        values |= landmark_values(
            points,
            reference.points[:count],
            reference.moments_s,
            reference.quiet[:count],
            reference.fps,
            is_aligned=is_aligned,
        )
        values |= life_values(points, reference.fps)
        arrays: dict[str, Floats] = {}
        for look in self._looks:
            more, features = look.finish()
            values |= more
            arrays |= features
        return FrameScores(values, points, arrays)


def detect_points(batches: Iterable[Pixels]) -> Iterator[Floats]:
    """Yield the mesh of the largest face in every frame, (478, 3); nan if there is none."""
    with FaceDetector(video=True) as detector:
        for batch in batches:
            for frame in batch:
                faces = detector.detect(frame)
                yield faces[0] if faces else np.full((NUM_POINTS, 3), np.nan, np.float32)


def score_together(
    videos: Mapping[str, Iterator[Pixels]],
    scorers: Mapping[str, VideoScorer],
    reference: Reference,
    *,
    is_aligned: bool = True,
) -> dict[str, FrameScores | TalkheadError]:
    """Score several videos of one clip together, so that the real clip is measured only once.

    Args:
        videos: by system, uint8 crops, (T, 256, 256, 3) in all, in the reference's batches.
        scorers: by system; this function closes them.
        reference: the real clip.
        is_aligned: see `VideoScorer.finish`.

    Returns:
        The scores by system, or the error that prevented them.
    """
    results: dict[str, FrameScores | TalkheadError] = {}
    nothing = np.zeros((0, CROP_SIDE_PX, CROP_SIDE_PX, 3), np.uint8)

    def add(system: str, real: RealBatch | None) -> bool:
        """Score a video's next batch; return whether there was one."""
        if system in results:
            return False
        try:
            made = next(videos[system], nothing)
            scorers[system].add(made, real)
        except TalkheadError as error:
            results[system] = error
            return False
        return len(made) > 0

    try:
        for real in real_batches(reference):
            for system in videos:
                add(system, real)
        for system in videos:
            while add(system, None):
                pass
            if system not in results:
                try:
                    results[system] = scorers[system].finish(reference, is_aligned=is_aligned)
                except TalkheadError as error:
                    results[system] = error
    finally:
        for scorer in scorers.values():
            scorer.close()
    return results


def flow_is_there() -> bool:
    """Return whether OpenCV can be loaded: its wheel needs libraries that some machines lack."""
    try:
        import cv2  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def _with_face(face: Mask) -> list[int]:
    """Return the indices of frames with a lower face."""
    return [int(index) for index in np.flatnonzero(face.any((1, 2)))]


def _sharpness(frames: Pixels, mask: Mask, index: int) -> float:
    one = slice(index, index + 1)
    return sharpness(frames[one], mask[one])


def _places(points: Floats) -> tuple[Mask, Mask, Mask]:
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
