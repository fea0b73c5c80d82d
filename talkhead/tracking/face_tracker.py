"""Track one person's face through a video: to dub it, for a landmark track, or for training.

A temporary file holds the meshes, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.media.video import probe_video, read_frames
from talkhead.tracking.cuts import CutFinder
from talkhead.tracking.face_detector import MAX_FACES, FaceDetector, check_choice, no_face_error
from talkhead.tracking.face_follower import first_frames
from talkhead.tracking.face_track import FaceTrack, fill_gaps, find_stretches
from talkhead.tracking.landmark_track import LandmarkTrack
from talkhead.tracking.person_finder import PersonFinder

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
Progress = Callable[[Iterable[Frames], "int | None"], Iterable[Frames]]
"""Passes frames through and reports progress; the second argument is their approximate number."""


def without_progress(frames: Iterable[Frames], _: int | None) -> Iterable[Frames]:
    """Pass frames through, and report nothing."""
    return frames


def track_face(
    video: Path,
    fps: Fraction | None = None,
    choose: str = "largest",
    progress: Progress = without_progress,
) -> FaceTrack:
    """Find the shots, and one person's face in every frame where it can be dubbed.

    The person is chosen in the first frame that shows any face, and found again in every later
    shot. Within a shot the face is followed by position and size. After a loss it is taken at
    another place only if it clearly looks the same, so that nobody else is mistaken for it.

    Args:
        video: the video file.
        fps: frames per second; None for the video's own rate.
        choose: which face, as in `choose_face`. `largest`, `left` and `right` prefer faces that
            can be dubbed.
        progress: passes frames through and reports progress.

    Raises:
        NoFaceError: no frame shows a face that can be dubbed.
        TalkheadError: the video cannot be read, or no frame shows the chosen face.
    """
    return _record(video, fps, choose, progress).track()


def track_any_face(video: Path, fps: Fraction | None = None) -> FaceTrack:
    """Find the shots, and one person's face, large or small and in any view.

    As `track_face` with the largest face; but where looks do not tell who is the same person, the
    likeliest face is taken. The track of a video without a face has no stretches.

    Raises:
        TalkheadError: the video cannot be read.
    """
    return _record(
        video, fps, "largest", without_progress, to_dub=False, may_be_faceless=True
    ).track()


def track_video(
    video: Path,
    fps: Fraction | None = None,
    choose: str = "largest",
    progress: Progress = without_progress,
) -> tuple[LandmarkTrack, int]:
    """Find one person's face, large or small and in any view, and fill the gaps in its track.

    The face is found as in `track_any_face`. Gaps are filled by linear interpolation.

    Args:
        video: the video file.
        fps: frames per second; None for the video's own rate.
        choose: which face, as in `choose_face`.
        progress: passes frames through and reports progress.

    Returns:
        The track, and the number of its frames without the face.

    Raises:
        NoFaceError: no frame shows a face.
        TalkheadError: the video cannot be read, or no frame shows the chosen face.
    """
    record = _record(video, fps, choose, progress, to_dub=False)
    points, frames = record.points, np.flatnonzero(record.detected)
    fill_gaps(points, frames)
    points[: frames[0]] = points[frames[0]]
    points[frames[-1] + 1 :] = points[frames[-1]]
    track = LandmarkTrack(np.asarray(points), record.fps, record.size, record.detector)
    return track, len(points) - len(frames)


@dataclass(frozen=True)
class FaceRecord:
    """A face in all frames of a video."""

    fps: Fraction
    size: tuple[int, int]
    detector: str
    points: Floats
    """(T, 478, 3), in a temporary file; zero in frames without the face."""
    detected: npt.NDArray[np.bool_]
    """(T,), whether a frame shows the face."""
    shot_starts: list[int]
    jumps: list[int]
    """Frames to which the face jumps."""
    num_uncertain: int

    def track(self) -> FaceTrack:
        """Return the stretches in which the face can be dubbed."""
        starts = sorted({*self.shot_starts, *self.jumps})
        return FaceTrack(
            self.fps,
            self.size,
            len(self.shot_starts),
            list(find_stretches(self.points, self.detected, starts)),
            self.detector,
            self.points,
            num_uncertain=self.num_uncertain,
            num_undetected=int((~self.detected).sum()),
        )


class FaceRecorder:
    """Records one person's face, frame by frame; close it at the end.

    Args:
        choose: which face, as in `choose_face`.
        size: (W, H) of the frames.
        to_dub: as for `PersonFinder`.
    """

    def __init__(self, choose: str, size: tuple[int, int], *, to_dub: bool = True) -> None:
        self._size = size
        self._store = tempfile.TemporaryFile()  # noqa: SIM115
        self.detector = FaceDetector(max_faces=MAX_FACES, video=True)
        self.person = PersonFinder(self.detector, choose, size, to_dub=to_dub)
        self.detected: list[bool] = []
        self.shot_starts: list[int] = []
        self._jumps: list[int] = []
        self._uncertain: set[int] = set()

    def find(self, frame: Frames, *, is_cut: bool) -> Floats | None:
        """Return the face in the next frame, (478, 3), or None; `add` must follow."""
        if is_cut:
            self.shot_starts.append(len(self.detected))
            self.person.start_shot(frame)
        found = self.person.find(frame)
        if self.person.has_switched:  # earlier frames of this shot show someone else
            self.forget(self.shot_starts[-1])
        return found

    def add(self, found: Floats | None) -> None:
        """Record the face of this frame."""
        if self.person.has_jumped:
            self._jumps.append(len(self.detected))
        if found is not None and not self.person.is_certain:
            self._uncertain.add(len(self.shot_starts))
        self.detected.append(found is not None)
        shown = np.zeros((NUM_POINTS, 3), np.float32) if found is None else found
        self._store.write(shown.astype("<f4").tobytes())

    def forget(self, start: int) -> None:
        """Delete the face from the frames since `start`."""
        self.detected[start:] = [False] * (len(self.detected) - start)

    def record(self, fps: Fraction) -> FaceRecord:
        """Return what was recorded."""
        self._store.flush()
        # The mapping stays valid after the file is closed and deleted.
        points = np.memmap(self._store, "<f4", mode="r+", shape=(len(self.detected), NUM_POINTS, 3))
        return FaceRecord(
            fps,
            self._size,
            self.detector.name,
            points,
            np.array(self.detected),
            self.shot_starts,
            self._jumps,
            num_uncertain=len(self._uncertain),
        )

    def close(self) -> None:
        """Free the detector and the file."""
        self._store.close()
        self.detector.close()


def _record(
    video: Path,
    fps: Fraction | None,
    choose: str,
    progress: Progress,
    *,
    to_dub: bool = True,
    may_be_faceless: bool = False,
) -> FaceRecord:
    info = probe_video(video)
    rate, size = fps or info.fps, (info.width, info.height)
    check_choice(choose, size)
    total = round(float(info.duration_s) * float(rate)) or None
    with closing(FaceRecorder(choose, size, to_dub=to_dub)) as recorder:
        for frame, is_cut in CutFinder().find(progress(read_frames(video, fps=rate), total)):
            recorder.add(recorder.find(frame, is_cut=is_cut))
        if not any(recorder.detected) and not may_be_faceless:
            raise no_face_in(video, recorder)
        return recorder.record(rate)


def no_face_in(video: Path, recorder: FaceRecorder) -> TalkheadError:
    """Return the error for a video in which the face was not found."""
    person = recorder.person
    if person.refusal is not None:
        return person.refusal
    if person.has_chosen:
        return NoFaceError(f"{video} shows no frontal face that is large enough to dub")
    return no_face_error(f"{video} shows no face", first_frames(video), recorder.detector)
