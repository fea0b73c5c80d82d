"""Follow one face in a video, and search for faces, at a bounded cost per frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from talkhead.geometry.mesh import LEFT_EYE_CORNER, RIGHT_EYE_CORNER, STABLE_POINTS
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.face_detector import FULL_SEARCH_EVERY, FaceDetector
from talkhead.tracking.landmarkers import Box, Image, Points
from talkhead.tracking.views import box_of, distance, is_same, search_windows

MAX_STEP = 0.35
"""Most a face moves from one frame to the next, in eye distances; more is a jump."""
MAX_LOST_STEP = 1.5
"""Most a face moves while it is lost, in eye distances."""
MAX_GROWTH = 1.5
WINDOW_SIDES = 3.0
"""Side of the window around a face, relative to the side of the face."""
LARGE_FACE = 0.2
"""Faces at least this large, relative to the picture's longer side, need no window."""
LOOK_EVERY = 4
"""A lost face is searched for more thoroughly in one frame out of this many."""
SWEEP_WINDOWS = 3
"""Number of windows searched in each frame without a face."""


SETTLE_FRAMES = 12
"""If a shot fades in, its faces are searched again this many frames after the first appears."""


class FaceFollower:
    """Follows one face in a video by position and size.

    A small face is followed in a window around it, as mediapipe sees a frame at 128 px. The window
    also keeps other faces out.

    Args:
        detector: opened for a video; may be shared with other users between frames.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._window: Box | None = None
        self._others: list[Box] = []  # other faces beside this one when it was last seen
        self.last: Points | None = None
        """The face when last seen, float32 (478, 3); None while no face is followed."""
        self.num_lost = 0
        """Number of frames since then."""
        self.has_jumped = False
        """Whether the face moved farther in this frame than faces do: at a cut within a scene."""

    def drop(self) -> None:
        """Stop following until the next `take`."""
        self.last, self.num_lost, self.has_jumped = None, 0, False

    def take(self, frame: Image, face: Points) -> Points:
        """Start following a face of this frame, and return its mesh from the tracker."""
        self.last, self.num_lost, self.has_jumped = face, 0, False
        self._others = []
        return self._watch(frame, face)

    def follow(self, frame: Image) -> Points | None:
        """Return the face in the next frame, or None if it is lost."""
        assert self.last is not None, "take() comes first"
        seen = self._detector.track(frame, self._window)
        face, self.has_jumped = same_face(self.last, seen, self.num_lost), False
        if face is None and self.num_lost % LOOK_EVERY == 0:
            face = same_face(self.last, self._look_closely(frame), self.num_lost)
            if face is not None:
                face = self._watch(frame, face)
        if face is None and self.num_lost == 0:
            face = self._jumped(seen)
            self.has_jumped = face is not None
        if face is None:
            self.num_lost += 1
            return None
        self.last, self.num_lost = face, 0
        self._others = [box_of(other) for other in seen if not is_same(box_of(other), box_of(face))]
        if self._has_left(face):
            self._watch(frame, face)
        return face

    def _watch(self, frame: Image, face: Points) -> Points:
        """Move the window to a face, and return the tracker's mesh in it."""
        box = box_of(face)
        is_large = box.side >= LARGE_FACE * max(frame.shape[:2])
        self._window = None if is_large else box._replace(side=WINDOW_SIDES * box.side)
        seen = face
        for _ in range(2):  # the first mesh in a new window is rough
            again = same_face(face, self._detector.track(frame, self._window), 0)
            seen = seen if again is None else again
        return seen

    def _has_left(self, face: Points) -> bool:
        if self._window is None:
            return False
        box = box_of(face)
        return distance(box, self._window) > 0.2 or not 0.2 < box.side / self._window.side < 0.5

    def _jumped(self, faces: list[Points]) -> Points | None:
        """Return the face if it jumped to a place where no other face was."""
        assert self.last is not None
        new = [face for face in faces if not any(is_same(box_of(face), o) for o in self._others)]
        return same_face(self.last, new, FULL_SEARCH_EVERY)

    def _look_closely(self, frame: Image) -> list[Points]:
        assert self.last is not None
        box = box_of(self.last)
        boxes = self._detector.look(frame, box._replace(side=WINDOW_SIDES * box.side))
        near = [other for other in boxes if distance(other, box) < 1]
        faces = (self._detector.examine(frame, other) for other in near)
        return [face for face in faces if face is not None]


class FaceSearch:
    """Searches consecutive frames for faces.

    The first frame is searched at every scale, which takes a second for a wide picture. Later
    frames are searched by the tracker and in a few windows each; if a new face appears, the frame
    is searched at every scale too.

    Args:
        detector: opened for a video; may follow a face for other users between frames.
        is_enough: given the faces so far, returns whether to skip smaller ones.
    """

    def __init__(
        self,
        detector: FaceDetector,
        is_enough: Callable[[list[Points]], bool] | None = None,
    ) -> None:
        self._detector, self._is_enough = detector, is_enough
        self._sweep: Iterator[Box] | None = None
        self._known: list[Box] = []
        self._age = 0
        self._may_fade_in = True
        self._began_empty = False
        self._settle_in: int | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether more faces may appear soon, as the shot began without faces and is fading in."""
        return self._settle_in is not None

    def restart(self, *, may_fade_in: bool = True) -> None:
        """Search the next frame at every scale.

        Args:
            may_fade_in: whether faces may be invisible in it because a shot is fading in.
        """
        self._sweep, self._settle_in, self._may_fade_in = None, None, may_fade_in

    def settles(self) -> bool:
        """Count a frame, and return whether the shot has just finished fading in.

        If so, the frame will be searched at every scale.
        """
        if self._settle_in is None:
            return False
        self._settle_in -= 1
        if self._settle_in > 0:
            return False
        self.restart()
        return True

    def look(self, frame: Image) -> list[Points]:
        """Return all faces in the frame, largest first; empty if no new face has appeared."""
        self._age += 1
        is_first = self._sweep is None
        if not is_first and not self._has_news(frame):
            return []
        if is_first:
            levels = search_windows(frame.shape[1], frame.shape[0])
            self._sweep = itertools.cycle(window for level in levels for window in level)
        faces = self._detector.search(frame, self._is_enough)
        if is_first:
            self._began_empty = self._may_fade_in and not faces
        elif faces and self._began_empty:
            self._began_empty, self._settle_in = False, SETTLE_FRAMES
        self._known, self._age = [box_of(face) for face in faces], 0
        return faces

    def _has_news(self, frame: Image) -> bool:
        if self._known and self._age < FULL_SEARCH_EVERY:
            return False
        assert self._sweep is not None
        if any(self._is_new(box_of(face)) for face in self._detector.track(frame)):
            return True
        for window in itertools.islice(self._sweep, SWEEP_WINDOWS):
            for box in self._detector.look(frame, window):
                if self._is_new(box) and self._detector.examine(frame, box) is not None:
                    return True
        return False

    def _is_new(self, box: Box) -> bool:
        return not any(is_same(box, known) for known in self._known)


def sampled_frames(video: Path) -> Generator[tuple[float, Image], None, None]:
    """Yield about two frames per second of a video, starting with the first, with their times."""
    rate = probe_video(video).fps
    step = max(1, round(rate / 2))
    with closing(read_frames(video)) as frames:
        for index, frame in enumerate(frames):
            if index % step == 0:
                yield float(index / rate), frame


def first_frames(video: Path) -> list[Image]:
    """Read two frames from a video's first second, to find out why no face was detected."""
    with closing(sampled_frames(video)) as frames:
        return [frame for _, frame in itertools.islice(frames, 2)]


def same_face(last: Points, faces: list[Points], num_lost: int) -> Points | None:
    """Return the face that best matches one seen `num_lost` + 1 frames ago, or None.

    Args:
        last: the earlier face, float32 (478, 3), pixels.
        faces: candidates, in the same format.
        num_lost: number of frames in between without the face.
    """
    reach = min(MAX_STEP * (1 + num_lost), MAX_LOST_STEP)
    same = [
        face
        for face in faces
        if _step(last, face) < reach
        and 1 / MAX_GROWTH < eye_distance(face) / max(eye_distance(last), 1e-6) < MAX_GROWTH
    ]
    return min(same, key=lambda face: _step(last, face), default=None)


def eye_distance(face: Points) -> float:
    """Return the distance between the outer corners of the eyes, pixels."""
    return float(np.linalg.norm(face[RIGHT_EYE_CORNER] - face[LEFT_EYE_CORNER]))


def _step(before: Points, after: Points) -> float:
    """Return the distance that a face moved, in eye distances."""
    moved = after[STABLE_POINTS, :2].mean(0) - before[STABLE_POINTS, :2].mean(0)
    return float(np.linalg.norm(moved)) / max(eye_distance(before), 1e-6)
