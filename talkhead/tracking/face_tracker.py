"""Extract a landmark track from a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.face_detector import (
    MAX_FACES,
    FaceDetector,
    check_choice,
    choose_face,
    no_face_error,
)
from talkhead.tracking.face_follower import FaceFollower, FaceSearch, first_frames
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.tracking.views import box_of, is_same

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

LOST_FRAMES = 5
"""After a longer loss the face may be anywhere in the picture."""


def track_video(
    video: Path,
    fps: Fraction | None = None,
    choose: str = "largest",
    follow: Callable[[Iterable[Frames], int | None], Iterable[Frames]] = lambda frames, _: frames,
) -> tuple[LandmarkTrack, int]:
    """Find a face in every frame of a video.

    The face is chosen in the first frame that shows any, and followed by position and size. If it
    stays lost, the nearest face is followed instead, ignoring the other faces that were seen when
    the lost one was chosen. Gaps are filled by linear interpolation.

    Args:
        video: the video file.
        fps: frames per second; None for the video's own rate.
        choose: which face, as in `talkhead.tracking.face_detector.choose_face`.
        follow: passes frames through and reports progress; its second argument is their
            approximate number.

    Returns:
        The track, and the number of its frames without a face.

    Raises:
        NoFaceError: no frame shows a face.
        TalkheadError: the video cannot be read, or the first frame with faces does not show the
            chosen one.
    """
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    check_choice(choose, size)
    total = round(float(info.duration_s) * float(rate)) or None
    found: dict[int, Floats] = {}
    count = 0
    with FaceDetector(max_faces=MAX_FACES, video=True) as detector:
        chosen = _ChosenFace(detector, choose, size)
        for frame in follow(read_frames(video, fps=rate), total):
            face = chosen.find(frame)
            if chosen.has_switched:  # earlier frames show someone else
                found.clear()
            if face is not None:
                found[count] = face
            count += 1
        if not found:
            if chosen.refusal is not None:
                raise chosen.refusal
            raise no_face_error(f"{video} shows no face", first_frames(video), detector)
        name = detector.name
    points = np.stack(list(_without_gaps(found, count)))
    return LandmarkTrack(points, rate, size, name), count - len(found)


class _ChosenFace:
    """Follows a face through a whole video, across cuts."""

    def __init__(self, detector: FaceDetector, choice: str, size: tuple[int, int]) -> None:
        self._choice, self._size = choice, size
        self._follower = FaceFollower(detector)
        is_largest = choice.strip().lower() == "largest"
        self._search = FaceSearch(detector, bool if is_largest else None)
        self._others: list[Floats] = []
        self.refusal: TalkheadError | None = None
        """Why no face could be chosen, if the first faces appeared while the video faded in."""
        self.has_switched = False
        """Whether this frame switched to a different face, as the video had faded in."""

    def find(self, frame: Frames) -> Floats | None:
        """Return the face in the next frame, float32 (478, 3), or None.

        Raises:
            TalkheadError: this is the first frame with faces, and none matches the choice.
        """
        last, has_settled = self._follower.last, self._search.settles()
        self.has_switched = False
        if has_settled:
            self._follower.drop()
        if self._follower.last is None:
            face = self._take(frame, self._search.look(frame))
            if face is not None and last is not None:
                self.has_switched = not is_same(box_of(face), box_of(last))
            return face
        face = self._follower.follow(frame)
        num_lost = self._follower.num_lost
        if face is not None or num_lost < LOST_FRAMES:
            return face
        if num_lost == LOST_FRAMES:
            self._search.restart()
        elif num_lost % 2:  # follow and search in turn, as the tracker has only one window
            return None
        return self._take(frame, self._search.look(frame))

    def _take(self, frame: Frames, faces: list[Floats]) -> Floats | None:
        """Choose one of a frame's faces to follow from now on."""
        last = self._follower.last
        if last is None:
            face = self._choose(faces)
        else:
            free = [face for face in faces if not self._is_other(face)]
            face = min(free, key=lambda face: _distance(face, last), default=None)
        if face is None:
            return None
        self._others = [other for other in faces if other is not face]
        return self._follower.take(frame, face)

    def _choose(self, faces: list[Floats]) -> Floats | None:
        if not faces:
            return None
        try:
            return choose_face(faces, self._choice, self._size)
        except TalkheadError as error:
            if not self._search.is_provisional:
                raise
            self.refusal = error
            return None

    def _is_other(self, face: Floats) -> bool:
        return any(is_same(box_of(face), box_of(other)) for other in self._others)


def _distance(face: Floats, other: Floats) -> float:
    return float(np.linalg.norm(face[:, :2].mean(0) - other[:, :2].mean(0)))


def _without_gaps(found: dict[int, Floats], count: int) -> Iterator[Floats]:
    keys = np.array(sorted(found))
    for index in range(count):
        after = int(np.searchsorted(keys, index))
        high = int(keys[min(after, len(keys) - 1)])
        low = high if high <= index else int(keys[max(after - 1, 0)])
        share = np.float32((index - low) / (high - low)) if high > low else np.float32(0)
        yield found[low] * (1 - share) + found[high] * share
