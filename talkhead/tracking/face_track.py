"""One person's face in a video: the stretches that show it, its meshes and its crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from talkhead.geometry.crop import Crop, face_crops
from talkhead.geometry.mesh import mouth_opening

Floats = npt.NDArray[np.float32]

MAX_GAP_FRAMES = 3
"""Gaps up to this length are bridged by linear interpolation."""
MIN_STRETCH_FRAMES = 3
SMOOTH_S = 0.04
"""Meshes are smoothed over this time, as detections jitter."""


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `end` (exclusive) of one shot, all of which show the face.

    `fades_in` and `fades_out` are true if the shot extends beyond that end without the face.
    """

    start: int
    end: int
    fades_in: bool
    fades_out: bool


MAX_COMPARED = 2000
"""Number of frames to choose the speaking one from."""
SPEAKING_SHARE = 0.85
"""Share of frames whose mouth is opened less than in the speaking frame."""


class FaceTrack:
    """One person's face in a video.

    Attributes:
        fps: frames per second.
        size: (W, H) of the frames.
        num_frames: number of frames in the video.
        num_shots: number of shots, which cuts separate.
        stretches: stretches that show the face, in order.
        detector: name of the detector that produced the meshes.
        num_uncertain: number of shots whose face may not be the same person's as before.
        num_undetected: number of frames in which the face was not detected, bridged or not.
    """

    def __init__(
        self,
        fps: Fraction,
        size: tuple[int, int],
        num_shots: int,
        stretches: list[Stretch],
        detector: str,
        points: Floats,
        num_uncertain: int = 0,
        num_undetected: int = 0,
    ) -> None:
        self.fps, self.size, self.num_shots = fps, size, num_shots
        self.num_uncertain, self.num_undetected = num_uncertain, num_undetected
        self.num_frames = len(points)
        self.stretches, self.detector = stretches, detector
        self._points = points
        self._owner = np.full(self.num_frames, -1, np.int32)
        self._crops = np.zeros((self.num_frames, 3), np.float32)
        for number, stretch in enumerate(stretches):
            frames = slice(stretch.start, stretch.end)
            self._owner[frames] = number
            crops = face_crops(points[frames], float(fps))
            self._crops[frames] = [(crop.x, crop.y, crop.side) for crop in crops]

    @property
    def num_faceless(self) -> int:
        """Number of frames without a face that can be used."""
        return int((self._owner < 0).sum())

    def stretch_at(self, frame: int) -> int | None:
        """Return the number of the stretch that contains a frame, or None."""
        owner = int(self._owner[frame])
        return None if owner < 0 else owner

    def points_at(self, frame: int) -> Floats:
        """Return the smoothed mesh of a frame with a face, shape = (478, 3)."""
        stretch = self.stretches[int(self._owner[frame])]
        sigma = SMOOTH_S * float(self.fps)
        reach = min(round(3 * sigma), frame - stretch.start, stretch.end - 1 - frame)
        offsets = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * np.square(offsets / sigma))
        near = np.asarray(self._points[frame - reach : frame + reach + 1], np.float64)
        return np.asarray(np.tensordot(weights / weights.sum(), near, axes=1), np.float32)

    def crop_at(self, frame: int) -> Crop:
        """Return the square around the face in a frame; its side is constant in a stretch."""
        x, y, side = self._crops[frame].tolist()
        return Crop(x, y, side)

    def speaking_frame(self) -> int:
        """Return a frame whose mouth is opened well, though not the widest, to show its teeth."""
        frames = np.flatnonzero(self._owner >= 0)
        frames = frames[:: max(1, len(frames) // MAX_COMPARED)]
        order = mouth_opening(self._points[frames]).argsort(kind="stable")
        return int(frames[order[round(SPEAKING_SHARE * (len(order) - 1))]])

    def samples(self, number: int, count: int) -> Floats:
        """Return meshes spread evenly over a stretch, shape = (at most `count`, 478, 3)."""
        stretch = self.stretches[number]
        picks = np.linspace(stretch.start, stretch.end - 1, min(count, stretch.end - stretch.start))
        return np.asarray(self._points[picks.round().astype(int)], np.float32)

    def detected_points(self, start: int, end: int) -> Floats:
        """Return the meshes of frames of one stretch without smoothing, (end - start, 478, 3)."""
        return np.array(self._points[start:end])


def find_stretches(
    points: Floats, detected: npt.NDArray[np.bool_], part_starts: Sequence[int]
) -> Iterator[Stretch]:
    """Yield the stretches that are long enough; short gaps are bridged, also in `points`.

    Args:
        points: mesh of each frame, (T, 478, 3); changed in place.
        detected: whether a frame shows the face, (T,).
        part_starts: the first frame, and each frame to which the scene cuts or the face jumps.
    """
    for start, end in pairwise([*part_starts, len(points)]):
        frames = start + np.flatnonzero(detected[start:end])
        for part in np.split(frames, np.flatnonzero(np.diff(frames) > MAX_GAP_FRAMES + 1) + 1):
            if len(part) == 0:
                continue
            fill_gaps(points, part)
            first, last = int(part[0]), int(part[-1])
            is_whole = first == start and last == end - 1
            if is_whole or last - first + 1 >= MIN_STRETCH_FRAMES:
                yield Stretch(first, last + 1, first > start, last < end - 1)


def fill_gaps(points: Floats, detected: npt.NDArray[np.int64]) -> None:
    """Interpolate linearly between frames that show the face.

    Args:
        points: mesh of each frame, (T, 478, 3); changed in place.
        detected: numbers of frames that show the face, in order; the others between them are
            filled.
    """
    for low, high in pairwise(detected.tolist()):
        for index in range(low + 1, high):
            share = np.float32((index - low) / (high - low))
            points[index] = points[low] * (1 - share) + points[high] * share
