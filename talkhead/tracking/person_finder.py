"""Find one person's face across the shots of a video."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.geometry.mesh import NUM_SURFACE_POINTS
from talkhead.geometry.pose import fit_head_pose
from talkhead.tracking.appearance import Person
from talkhead.tracking.cuts import shows_same_scene, thumbnail
from talkhead.tracking.face_detector import FULL_SEARCH_EVERY, FaceDetector, choose_face
from talkhead.tracking.face_follower import FaceFollower, FaceSearch, eye_distance, same_face
from talkhead.tracking.landmarkers import Box
from talkhead.tracking.views import box_of, is_same

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

MIN_EYE_DISTANCE_PX = 16.0
MAX_YAW_DEG = 55.0
MIN_SEEN = 0.85
"""Share of the mesh that must lie within the picture."""
REMEMBER_EVERY = 50
"""The person's looks are recorded in one frame out of this many."""
SCENES_REMEMBERED = 8
"""Number of earlier shots to compare a new one with, as films cut back and forth."""
LOST_FRAMES = 5
"""After a longer loss the face may be anywhere in the picture."""
_WORDS = {"largest", "left", "right"}


class PersonFinder:
    """Finds one person's face in consecutive frames of a video.

    Args:
        detector: opened for a video.
        choice: which face in the first frame that shows any, as in `choose_face`.
        size: (W, H) of the frames.
        to_dub: accept only faces that can be dubbed and, where the face was lost within a shot,
            only one that is clearly the same person's. Otherwise any face is accepted.
    """

    def __init__(
        self, detector: FaceDetector, choice: str, size: tuple[int, int], *, to_dub: bool = True
    ) -> None:
        self._choice, self._size, self._to_dub = choice, size, to_dub
        is_largest = choice.strip().lower() == "largest"
        self._detector = detector
        self._follower = FaceFollower(detector)
        self._search = FaceSearch(detector, self._has_serving if is_largest else None)
        self._person = Person()
        self._others: list[Box] = []  # faces beside the person's when it was picked
        self._scenes: deque[tuple[Floats, Floats]] = deque(maxlen=SCENES_REMEMBERED)
        self._expected: Floats | None = None  # the face in an earlier shot of this scene
        self._before: Frames | None = None
        self._age = 0
        self._num_sought = 0  # frames since the face turned out to be somebody else's
        self._has_served = False
        self.has_switched = False
        """Whether this frame switched to a different face, as the shot had faded in."""
        self.has_jumped = False
        """Whether the face jumped between the last frame and this one: at a cut within a scene."""
        self.has_chosen = False
        """Whether any face was followed, even one that cannot be dubbed."""
        self.refusal: TalkheadError | None = None
        """Why none of the faces found was chosen."""
        self.is_certain = True
        """Whether the face in this shot is known to be the same person's as in earlier shots."""
        self.may_remember = True
        """Whether the looks of the next face may be recorded as the person's."""

    def start_shot(self, frame: Frames) -> None:
        """Start a new shot with `frame`, which must go to `find` next."""
        if self._before is not None and self._follower.last is not None and self._has_served:
            self._scenes.append((thumbnail(self._before), self._follower.last))
        now = thumbnail(frame)
        same = (face for scene, face in reversed(self._scenes) if shows_same_scene(scene, now))
        self._expected = next(same, None)
        self._follower.drop()
        self._search.restart()
        self._has_served, self._age, self.is_certain = False, 0, True
        self._num_sought = 0

    def find(self, frame: Frames) -> Floats | None:
        """Return the face, float32 (478, 3), or None if it is not visible or not accepted.

        Raises:
            TalkheadError: this is the first frame with faces, and none contains the chosen pixel.
        """
        self._before, self.has_switched = frame, False
        face = self._face_of(frame)
        self.has_jumped = self._follower.has_jumped
        if face is None or not self._serves(face):
            return None
        self._age = self._age + 1 if self._has_served else 0
        self._has_served = True
        is_clear = self.is_certain and self.may_remember and not self._search.is_provisional
        if is_clear and (self._age % REMEMBER_EVERY == 0 or not self._person):
            self._person.remember(frame, face)
        return face

    def keep(self) -> None:
        """Take the face just found for the person's, after `lose`."""
        self._num_sought = 0

    def difference(self, frame: Frames, face: Floats) -> float:
        """Return how much a face differs from the person's, as `Looks.distance`."""
        return self._person.difference(frame, face)

    def lose(self) -> None:
        """Take back the face just found, as it is somebody else's, and look for the person's."""
        self._follower.drop()
        self._num_sought += 1

    def _seek(self, frame: Frames) -> Floats | None:
        """Return a face that clearly looks like the person's, wherever it is, or None."""
        is_thorough = self._num_sought in (LOST_FRAMES, 2 * LOST_FRAMES)
        if is_thorough or self._num_sought % FULL_SEARCH_EVERY == 0:
            faces = self._detector.search(frame)
        else:
            faces = self._detector.track(frame)
        face = self._person.recognise(frame, self._person.without_others(frame, faces))
        if face is None:
            self._num_sought += 1
            return None
        self._others = [box_of(other) for other in faces if other is not face]
        return self._follower.take(frame, face)

    def _face_of(self, frame: Frames) -> Floats | None:
        if self._num_sought and self._follower.last is None:
            return self._seek(frame)
        last, has_settled = self._follower.last, self._search.settles()
        face: Floats | None = None
        faces: list[Floats] = []
        if last is None or has_settled or self._may_choose_again():
            faces = self._search.look(frame)
            face = self._pick(frame, faces)
        if face is None and last is not None:
            face = self._follower.follow(frame)
            if face is not None or not self._may_be_elsewhere():
                return face
            faces = self._search.look(frame)
            face = self._recover(frame, faces)
        if face is None:
            return None
        if has_settled and last is not None:
            self.has_switched = not is_same(box_of(face), box_of(last))
        self.has_chosen = True
        self._others = [box_of(other) for other in faces if other is not face]
        return self._follower.take(frame, face)

    def _serves(self, face: Floats) -> bool:
        return not self._to_dub or can_be_dubbed(face, self._size)

    def _has_serving(self, faces: list[Floats]) -> bool:
        return any(self._serves(face) for face in faces)

    def _may_be_elsewhere(self) -> bool:
        """Return whether to search the whole picture for the face, as it has been lost for long."""
        num_lost = self._follower.num_lost
        if num_lost < LOST_FRAMES or self._search.is_provisional:
            return False
        if num_lost == LOST_FRAMES:
            self._search.restart(may_fade_in=False)
            return True
        return num_lost % 2 == 0  # follow and search in turn, as the tracker has only one window

    def _recover(self, frame: Frames, faces: list[Floats]) -> Floats | None:
        """Return the lost face among all faces in a frame, or None."""
        places = [(face, box_of(face)) for face in faces]
        free = [f for f, box in places if not any(is_same(box, other) for other in self._others)]
        free = self._person.without_others(frame, free)
        face = self._person.recognise(frame, free)
        if face is None and free and not self._to_dub:
            face, self.is_certain = self._person.nearest(frame, free), False
        return face

    def _may_choose_again(self) -> bool:
        """Return whether to choose again, as the chosen face could not be dubbed so far."""
        if self._has_served or self._choice.strip().lower() not in _WORDS:
            return False
        self._age += 1
        if self._age % FULL_SEARCH_EVERY == 0:
            self._search.restart()
            return True
        return False

    def _pick(self, frame: Frames, faces: list[Floats]) -> Floats | None:
        """Return the person's face among all faces in a frame, or None."""
        if not faces:
            return None
        serving = [face for face in faces if self._serves(face)] or faces
        if self._expected is not None:
            face = same_face(self._expected, serving, FULL_SEARCH_EVERY)
            if face is not None:
                return face
        if not self._person:
            chosen = self._choose(faces, serving)
            if chosen is not None and not self._search.is_provisional:
                for face in faces:
                    if face is not chosen:
                        self._person.remember_other(frame, face)
            return chosen
        serving = self._person.without_others(frame, serving)
        if not serving:
            return None
        face = self._person.recognise(frame, serving)
        self.is_certain = face is not None
        if face is None:
            face = self._choose(faces, serving)
        if face is None or not any(face is other for other in serving):
            face = self._person.nearest(frame, serving)
        return face

    def _choose(self, faces: list[Floats], serving: list[Floats]) -> Floats | None:
        is_word = self._choice.strip().lower() in _WORDS
        try:
            return choose_face(serving if is_word else faces, self._choice, self._size)
        except TalkheadError as error:
            if "," in self._choice and not self._person and not self._search.is_provisional:
                raise  # a pixel refers to the first frame that shows a face
            self.refusal = error
            return None


def can_be_dubbed(face: Floats, size: tuple[int, int]) -> bool:
    """Return whether a face is large enough, faces the camera, and lies within the picture.

    Args:
        face: (478, 3), pixels.
        size: (W, H) of the picture.
    """
    if eye_distance(face) < MIN_EYE_DISTANCE_PX:
        return False
    rotation = fit_head_pose(face).rotation
    if abs(float(np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2])))) > MAX_YAW_DEG:
        return False
    inside = (face[:NUM_SURFACE_POINTS, :2] >= 0) & (face[:NUM_SURFACE_POINTS, :2] <= size)
    return bool(inside.all(1).mean() >= MIN_SEEN)
