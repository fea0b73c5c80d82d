"""Track several people through one video, each as `track_face` does, without mixing them up.

Faces that come close to each other may be mistaken for one another. So while two tracks are close,
each has to look like its own person. A track that has lost its person stays empty until a face
looks clearly like that person again. Two people who look alike are left out rather than swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import TalkheadError
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.appearance import MARGIN
from talkhead.tracking.cuts import CutFinder
from talkhead.tracking.face_detector import check_choice
from talkhead.tracking.face_track import FaceTrack
from talkhead.tracking.face_tracker import FaceRecorder, Progress, no_face_in, without_progress
from talkhead.tracking.landmarkers import Box, Points
from talkhead.tracking.views import box_of, distance, is_same

Frame = npt.NDArray[np.uint8]

CLOSE = 1.5
"""Faces whose centres are closer than this, in sides of the larger one, may be mixed up."""


def check_different(faces: Sequence[Points], choices: Sequence[str], num_found: int) -> None:
    """Refuse choices that are the same face.

    Args:
        faces: the chosen faces.
        choices: in words, one per face.
        num_found: how many faces there are to choose from.

    Raises:
        TalkheadError: two faces are in the same place.
    """
    boxes = [box_of(face) for face in faces]
    for number, box in enumerate(boxes):
        for other in range(number):
            if is_same(box, boxes[other]):
                raise _same_face(choices[other], choices[number], num_found)


def track_faces(
    video: Path,
    fps: Fraction | None,
    choices: Sequence[str],
    progress: Progress = without_progress,
) -> list[FaceTrack]:
    """Track several people, in one pass through the video.

    Args:
        video: the video file.
        fps: frames per second; None for the video's own rate.
        choices: which faces, as in `choose_face`; each is chosen where the video first shows any.
        progress: passes frames through and reports progress.

    Raises:
        NoFaceError: a person is never shown so that the face can be dubbed.
        TalkheadError: two choices are the same face, a chosen face does not exist, or the video
            cannot be read.
    """
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    for choice in choices:
        check_choice(choice, size)
    total = round(float(info.duration_s) * float(rate)) or None
    with ExitStack() as stack:
        recorders = [stack.enter_context(closing(FaceRecorder(choice, size))) for choice in choices]
        people = _People([_Tracked(recorder) for recorder in recorders], choices)
        for frame, is_cut in CutFinder().find(progress(read_frames(video, fps=rate), total)):
            people.add(frame, is_cut=is_cut)
        for recorder in recorders:
            if not any(recorder.detected):
                raise no_face_in(video, recorder)
        return [recorder.record(rate).track() for recorder in recorders]


@dataclass
class _Tracked:
    """One person's track, and how sure it is."""

    recorder: FaceRecorder
    sure: Points | None = None
    """The face in this shot when it was last certainly this person's."""
    doubtful_since: int | None = None
    """The first frame in which it might be somebody else's."""
    is_lost: bool = False
    """Whether the next face has to prove that it is this person's."""

    def restart(self) -> None:
        """Start a new shot."""
        self.sure, self.doubtful_since, self.is_lost = None, None, False

    def trust(self, face: Points) -> None:
        """Note that the face is this person's."""
        self.sure, self.doubtful_since, self.is_lost = face, None, False
        self.recorder.person.keep()

    def doubt(self, frame_number: int) -> None:
        """Note that the face may be somebody else's."""
        if self.doubtful_since is None:
            self.doubtful_since = frame_number

    def lose(self) -> None:
        """Note that the face is somebody else's, perhaps for some frames already."""
        if self.doubtful_since is not None:
            self.recorder.forget(max(self.doubtful_since, self.recorder.shot_starts[-1]))
        self.recorder.person.lose()
        self.doubtful_since, self.is_lost = None, True

    def likeness(self, frame: Frame, face: Points) -> float:
        """Return how much a face differs from the person's, as `Looks.distance`."""
        return self.recorder.person.difference(frame, face)


class _People:
    """Adds frames to several tracks, and decides whose a disputed face is."""

    def __init__(self, people: Sequence[_Tracked], choices: Sequence[str]) -> None:
        self._people, self._choices = people, choices
        self._apart: set[tuple[int, int]] = set()
        """Pairs that were seen side by side."""
        self._num_frames = 0

    def add(self, frame: Frame, *, is_cut: bool) -> None:
        """Add the next frame to all tracks.

        Raises:
            TalkheadError: two choices are the same face.
        """
        found = [each.recorder.find(frame, is_cut=is_cut) for each in self._people]
        if is_cut:
            for each in self._people:
                each.restart()
        boxes = [None if face is None else box_of(face) for face in found]
        self._check_different(boxes)
        kept = [self._judged(number, frame, found, boxes) for number in range(len(found))]
        for each, face in zip(self._people, kept, strict=True):
            each.recorder.add(face)
        self._num_frames += 1

    def _check_different(self, boxes: Sequence[Box | None]) -> None:
        for number, box in enumerate(boxes):
            for other in range(number):
                theirs = boxes[other]
                if box is None or theirs is None or (other, number) in self._apart:
                    continue
                if is_same(box, theirs):
                    raise _same_face(self._choices[other], self._choices[number], None)
                self._apart.add((other, number))

    def _judged(
        self,
        number: int,
        frame: Frame,
        found: Sequence[Points | None],
        boxes: Sequence[Box | None],
    ) -> Points | None:
        """Return the face that one track found, or None if it may be somebody else's."""
        tracked, face, box = self._people[number], found[number], boxes[number]
        if face is None or box is None:
            return None
        others = [other for other in range(len(found)) if other != number]
        is_close = any(_are_close(box, self._place(other, boxes[other])) for other in others)
        tracked.recorder.person.may_remember = not is_close and not tracked.is_lost
        if not is_close and not tracked.is_lost:
            tracked.trust(face)
            return face
        own = tracked.likeness(frame, face)
        theirs = min(self._people[other].likeness(frame, face) for other in others)
        is_disputed = any((b := boxes[other]) is not None and is_same(box, b) for other in others)
        if own + MARGIN < theirs:
            tracked.trust(face)
            return face
        if theirs + MARGIN < own or tracked.is_lost or is_disputed:
            tracked.lose()
            return None
        tracked.doubt(self._num_frames)
        return face

    def _place(self, number: int, box: Box | None) -> Box | None:
        """Return where a person is, or was when last seen."""
        sure = self._people[number].sure
        return box if box is not None or sure is None else box_of(sure)


def _are_close(box: Box, other: Box | None) -> bool:
    return other is not None and distance(box, other) < CLOSE


def _same_face(one: str, other: str, num_found: int | None) -> TalkheadError:
    """Return the error for two choices of one face."""
    only = " the only one found" if num_found == 1 else " the same face"
    return TalkheadError(f"{one} and {other} are{only}: choose a different face for each speaker")
