"""Track the face to dub: a video's shots, the stretches that show the face, and its meshes.

A temporary file holds the meshes, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from talkhead.errors import NoFaceError
from talkhead.geometry.crop import FACE_CENTRE_DROP, FACE_MARGIN, Crop
from talkhead.geometry.mesh import NUM_POINTS, NUM_SURFACE_POINTS
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.cuts import CutFinder
from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, check_choice, no_face_error
from talkhead.tracking.face_follower import first_frames
from talkhead.tracking.person_finder import PersonFinder

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

MAX_GAP_FRAMES = 3
"""Gaps up to this length are bridged by linear interpolation."""
MIN_STRETCH_FRAMES = 3
SMOOTH_S = 0.04
"""Meshes are smoothed over this time, as detections jitter."""
CROP_SMOOTH_S = 0.6


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `end` (exclusive) of one shot, all of which show the face.

    `fades_in` and `fades_out` are true if the shot extends beyond that end without the face.
    """

    start: int
    end: int
    fades_in: bool
    fades_out: bool


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
    ) -> None:
        self.fps, self.size, self.num_shots = fps, size, num_shots
        self.num_uncertain = num_uncertain
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
        """Number of frames without a face that can be dubbed."""
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

    def samples(self, number: int, count: int) -> Floats:
        """Return meshes spread evenly over a stretch, shape = (at most `count`, 478, 3)."""
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
    """Find the shots, and one person's face in every frame where it can be dubbed.

    The person is chosen in the first frame that shows any face, and found again in every later
    shot. Within a shot the face is followed by position and size, so that a different face that
    appears after a loss is not mistaken for it.

    Args:
        video: the video file.
        fps: frames per second; None for the video's own rate.
        choose: which face, as in `choose_face`. `largest`, `left` and `right` prefer faces that
            can be dubbed.
        follow: passes frames through; its second argument is their approximate number.

    Raises:
        NoFaceError: no frame shows a face that can be dubbed.
        TalkheadError: the video cannot be read, or no frame shows the chosen face.
    """
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    check_choice(choose, size)
    total = round(float(info.duration_s) * float(rate)) or None
    starts, uncertain = list[int](), set[int]()
    seen: list[bool] = []
    nothing = np.zeros((NUM_POINTS, 3), np.float32)
    with (
        tempfile.TemporaryFile() as store,
        FaceDetector(max_faces=MAX_FACES, video=True) as detector,
    ):
        person = PersonFinder(detector, choose, size)
        for frame, is_cut in CutFinder().find(follow(read_frames(video, fps=rate), total)):
            if is_cut:
                starts.append(len(seen))
                person.start_shot(frame)
            found = person.find(frame)
            if person.has_switched:  # earlier frames of this shot show someone else
                seen[starts[-1] :] = [False] * (len(seen) - starts[-1])
            seen.append(found is not None)
            store.write((nothing if found is None else found).astype("<f4").tobytes())
            if found is not None and not person.is_certain:
                uncertain.add(len(starts))
        if not any(seen):
            if person.refusal is not None:
                raise person.refusal
            if person.has_chosen:
                raise NoFaceError(f"{video} shows no frontal face that is large enough to dub")
            raise no_face_error(f"{video} shows no face", first_frames(video), detector)
        store.flush()
        # The mapping stays valid after the file is closed and deleted.
        points = np.memmap(store, "<f4", mode="r+", shape=(len(seen), NUM_POINTS, 3))
    stretches = list(_stretches(np.array(seen), [*starts[1:], len(seen)], points))
    return FaceTrack(
        rate, size, len(starts), stretches, detector.name, points, num_uncertain=len(uncertain)
    )


def _stretches(
    seen: npt.NDArray[np.bool_], shot_ends: list[int], points: Floats
) -> Iterator[Stretch]:
    """Yield stretches long enough to dub; short gaps are bridged, also in `points`, in place."""
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
