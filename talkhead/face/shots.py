"""The face to dub in a video: shots, stretches in which the face is seen, a mesh for every frame.

Meshes wait in a temporary file, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.face.crop import FACE_CENTRE_DROP, FACE_MARGIN, Crop
from talkhead.face.detection import FaceDetector, choose_face
from talkhead.face.mesh import (
    LEFT_EYE_CORNER,
    NUM_POINTS,
    NUM_SURFACE_POINTS,
    RIGHT_EYE_CORNER,
    STABLE_POINTS,
)
from talkhead.face.pose import fit_head_pose
from talkhead.media.video import probe_video, read_frames

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

CUT_SIDE_PX = 32
CUT_DIFFERENCE = 16.0
"""Mean change of a picture, of 255, that can be a cut."""
CUT_RATIO = 4.0
"""A cut changes the picture this many times as much as the frames before it did."""
CUT_MEMORY = 8
MIN_EYE_DISTANCE_PX = 16.0
MAX_YAW_DEG = 55.0
MIN_SEEN = 0.85
"""Share of the mesh that has to lie within the picture."""
MAX_STEP = 0.35
"""Eye distances that a face moves at most from one frame to the next."""
MAX_LOST_STEP = 1.5
"""The same after it was lost for a while."""
MAX_GROWTH = 1.5
MAX_GAP_FRAMES = 3
"""A face that is lost no longer than this is taken to have moved evenly."""
MIN_STRETCH_FRAMES = 3
SMOOTH_S = 0.04
"""Meshes are smoothed over this time: detectors tremble."""
CROP_SMOOTH_S = 0.6


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `end` (not included) of one shot, in all of which the face is seen.

    `fades_in` and `fades_out` tell whether the same shot goes on without the face on that side.
    """

    start: int
    end: int
    fades_in: bool
    fades_out: bool


class FaceTrack:
    """One person's face in a video.

    Attributes:
        fps: frames a second.
        size: (W, H) of the picture.
        num_frames: of the video.
        num_shots: parts between cuts.
        stretches: where the face is seen, in order.
        detector: what placed the points.
    """

    def __init__(
        self,
        fps: Fraction,
        size: tuple[int, int],
        num_shots: int,
        stretches: list[Stretch],
        detector: str,
        points: Floats,
    ) -> None:
        self.fps, self.size, self.num_shots = fps, size, num_shots
        self.num_frames = len(points)
        self.stretches, self.detector = stretches, detector
        self._points = points
        self._owner = np.full(self.num_frames, -1, np.int32)
        self._crops = np.zeros((self.num_frames, 3), np.float32)
        for number, stretch in enumerate(stretches):
            self._owner[stretch.start : stretch.end] = number
            self._crops[stretch.start : stretch.end] = self._crops_of(stretch)

    @property
    def num_faceless(self) -> int:
        """Frames without a face that serves."""
        return int((self._owner < 0).sum())

    def stretch_at(self, frame: int) -> int | None:
        """Return the number of the stretch that a frame belongs to."""
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
        """Return the square around the face in a frame; its side is the same for a stretch."""
        x, y, side = self._crops[frame].tolist()
        return Crop(x, y, side)

    def samples(self, number: int, count: int) -> Floats:
        """Return meshes spread over a stretch, shape = (at most `count`, 478, 3)."""
        stretch = self.stretches[number]
        picks = np.linspace(stretch.start, stretch.end - 1, min(count, stretch.end - stretch.start))
        return np.asarray(self._points[picks.round().astype(int)], np.float32)

    def _crops_of(self, stretch: Stretch) -> Floats:
        boxes = []
        for first in range(stretch.start, stretch.end, 500):
            part = self._points[first : min(first + 500, stretch.end), :NUM_SURFACE_POINTS, :2]
            boxes.append(np.concatenate([part.min(1), part.max(1)], axis=1))
        low, high = np.split(np.concatenate(boxes), 2, axis=1)
        side = FACE_MARGIN * float(np.median((high - low).max(1)))
        sigma = CROP_SMOOTH_S * float(self.fps)
        centre = gaussian_filter1d((low + high) / 2, sigma, axis=0, mode="nearest")
        centre[:, 1] += FACE_CENTRE_DROP * side
        sides = np.full((len(centre), 1), side)
        return np.asarray(np.concatenate([centre, sides], axis=1), np.float32)


def track_face(
    video: Path,
    fps: Fraction | None = None,
    choose: str = "largest",
    follow: Callable[[Iterable[Frames], int | None], Iterable[Frames]] = lambda frames, _: frames,
) -> FaceTrack:
    """Find shots, and one person's face in every frame where it can be dubbed.

    In every shot the face is chosen anew, and then followed by place and size: another face that
    turns up where it was lost is not taken for it.

    Args:
        video: the file.
        fps: frames a second; the video's own if None.
        choose: which face, as `talkhead.face.detection.choose_face` takes it.
        follow: passes frames on, of which there are about as many as it is told.

    Raises:
        NoFaceError: no frame shows a face that serves.
        TalkheadError: the video cannot be read, or the face that is asked for is in no frame.
    """
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    total = round(float(info.duration_s) * float(rate)) or None
    cuts, starts = CutFinder(), list[int]()
    seen: list[bool] = []
    last: Floats | None = None
    lost = 0
    refusal: TalkheadError | None = None
    nothing = np.zeros((NUM_POINTS, 3), np.float32)
    with tempfile.TemporaryFile() as store, FaceDetector(max_faces=8, video=True) as detector:
        for index, frame in enumerate(follow(read_frames(video, fps=rate), total)):
            if cuts.is_cut(frame):
                starts.append(index)
                last, lost = None, 0
            faces = [face for face in detector.detect(frame) if _serves(face, size)]
            found = None
            if faces and last is None:
                try:
                    found = choose_face(faces, choose, size)
                except TalkheadError as error:
                    refusal = error
            elif last is not None:
                found = _followed(last, faces, lost)
            seen.append(found is not None)
            store.write((nothing if found is None else found).astype("<f4").tobytes())
            last, lost = (last, lost + 1) if found is None else (found, 0)
        if not any(seen):
            raise refusal or NoFaceError(
                f"{video} shows no face from the front that is large enough to dub"
            )
        store.flush()
        # The map outlives the file's name and its handle.
        points = np.memmap(store, "<f4", mode="r+", shape=(len(seen), NUM_POINTS, 3))
    stretches = list(_stretches(np.array(seen), [*starts[1:], len(seen)], points))
    return FaceTrack(rate, size, len(starts), stretches, detector.name, points)


class CutFinder:
    """Tells the first frames of shots, looking at one frame after the other."""

    def __init__(self) -> None:
        self._before: Floats | None = None
        self._changes: deque[float] = deque(maxlen=CUT_MEMORY)

    def is_cut(self, frame: Frames) -> bool:
        """Return whether a frame, uint8 (H, W, 3), begins a shot; the first one does."""
        small = Image.fromarray(frame).resize((CUT_SIDE_PX, CUT_SIDE_PX), Image.Resampling.BOX)
        now = np.asarray(small, np.float32)
        before, self._before = self._before, now
        if before is None:
            return True
        change = float(np.abs(now - before).mean())
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        if change > CUT_DIFFERENCE and change > CUT_RATIO * usual:
            self._changes.clear()
            return True
        self._changes.append(change)
        return False


def _serves(face: Floats, size: tuple[int, int]) -> bool:
    """Return whether a face is large enough, looks this way, and lies within the picture."""
    if _eye_distance(face) < MIN_EYE_DISTANCE_PX:
        return False
    rotation = fit_head_pose(face).rotation
    if abs(float(np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2])))) > MAX_YAW_DEG:
        return False
    inside = (face[:NUM_SURFACE_POINTS, :2] >= 0) & (face[:NUM_SURFACE_POINTS, :2] <= size)
    return bool(inside.all(1).mean() >= MIN_SEEN)


def _followed(last: Floats, faces: list[Floats], lost: int) -> Floats | None:
    """Return the face that can be the one seen `lost` + 1 frames ago, if there is one."""
    reach = min(MAX_STEP * (1 + lost), MAX_LOST_STEP)
    same = [
        face
        for face in faces
        if _step(last, face) < reach
        and 1 / MAX_GROWTH < _eye_distance(face) / max(_eye_distance(last), 1e-6) < MAX_GROWTH
    ]
    return min(same, key=lambda face: _step(last, face), default=None)


def _step(before: Floats, after: Floats) -> float:
    """Return how far a face moved, in eye distances."""
    moved = after[STABLE_POINTS, :2].mean(0) - before[STABLE_POINTS, :2].mean(0)
    return float(np.linalg.norm(moved)) / max(_eye_distance(before), 1e-6)


def _eye_distance(face: Floats) -> float:
    return float(np.linalg.norm(face[RIGHT_EYE_CORNER] - face[LEFT_EYE_CORNER]))


def _stretches(
    seen: npt.NDArray[np.bool_], shot_ends: list[int], points: Floats
) -> Iterator[Stretch]:
    """Bridge short gaps, in the points too, and leave out what is too short to dub."""
    start = 0
    for end in shot_ends:
        frames = start + np.flatnonzero(seen[start:end])
        for part in np.split(frames, np.flatnonzero(np.diff(frames) > MAX_GAP_FRAMES + 1) + 1):
            if len(part) == 0:
                continue
            first, last = int(part[0]), int(part[-1])
            for low, high in zip(part[:-1].tolist(), part[1:].tolist(), strict=True):
                for index in range(low + 1, high):
                    share = np.float32((index - low) / (high - low))
                    points[index] = points[low] * (1 - share) + points[high] * share
            is_whole = first == start and last == end - 1
            if is_whole or last - first + 1 >= MIN_STRETCH_FRAMES:
                yield Stretch(first, last + 1, first > start, last < end - 1)
        start = end
