"""Find the faces of a picture, large or small, and place the 478-point mesh on each of them.

mediapipe's own detectors see a picture at 128 or 192 px and miss small faces in wide pictures. So
a picture is searched from coarse to fine through overlapping square windows. Each find must be
confirmed in an enlarged crop or in the mirror image of it, and only then the mesh is placed, in a
crop of its own. A watch or a dog's paw passes the first step, but not the second.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.face.landmarkers import (
    SOLUTIONS_NAME,
    TASK_FILE,
    TASK_WEIGHTS,
    Box,
    Image,
    Landmarker,
    Points,
    native_logs_silenced,
    open_landmarker,
)
from talkhead.face.mesh import CHIN, FOREHEAD
from talkhead.face.windows import (
    LEVELS,
    View,
    area_of,
    box_of,
    cut_view,
    distance,
    is_same,
    search_windows,
)

DETECTOR_NAME = SOLUTIONS_NAME
"""The detector that our training data was made with; `FaceDetector.name` is the one at hand."""

MAX_FACES = 32
"""Number of faces to ask for where one of them is to be chosen."""

MAX_FOLLOWED = 8

FULL_SEARCH_EVERY = 25
"""Of a video's frames without a face, one in so many is searched at every level."""

MIN_CONFIRMED_SCORE = 0.6
"""Of the enlarged crop and of its mirror image together."""

TURNS = {
    3: "90 degrees clockwise",
    1: "90 degrees counterclockwise",
    2: "180 degrees",
}
"""By numpy's number of quarter turns counterclockwise."""

NO_FACE = "no face found: use a picture in which a face is clearly visible"

_BLANK: Image = np.zeros((64, 64, 3), dtype=np.uint8)


class FaceDetector:
    """Places mediapipe's 478-point mesh on the faces of pictures, or of a video frame by frame.

    Args:
        max_faces: most faces to return.
        video: the pictures are frames of one video, in order: each search starts at the last find.
        networks: ``face_landmarker.task`` for mediapipe 1.x; by default the published one.

    Raises:
        TalkheadError: mediapipe is missing.
        WeightsError: mediapipe is 1.x and its networks' file is missing or unreadable.
    """

    def __init__(
        self, max_faces: int = 1, video: bool = False, networks: Path | None = None
    ) -> None:
        self._max_faces = max_faces
        self._video = video
        self._window: Box | None = None  # where a small face of a video is followed
        self._tracked: Box | None = None  # what `track` was last shown
        self._num_empty = 0  # frames without a face since the last one
        self._quiet = False
        with native_logs_silenced():
            self._landmarker: Landmarker = open_landmarker(
                min(max_faces, MAX_FOLLOWED) if video else 0,
                lambda: networks or _published_networks(),
            )
        self.name = self._landmarker.name

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        with native_logs_silenced():  # it waits for the graphs' threads
            self._landmarker.close()

    def detect(self, image: Image) -> list[Points]:
        """Find the faces of a picture, or of a video's next frame.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            One float32 (478, 3) per face, the largest first, in pixels: x right, y down, z in the
            scale of x and negative toward the camera.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"not a uint8 (H, W, 3) picture: {image.dtype} {image.shape}")
        image = np.ascontiguousarray(image)
        with self._silenced():
            faces = self._follow(image) if self._video else self._search(image, LEVELS)
        self._quiet = self._quiet or bool(faces)
        return sorted(faces, key=area_of, reverse=True)[: self._max_faces]

    def search(
        self, image: Image, is_enough: Callable[[list[Points]], bool] | None = None
    ) -> list[Points]:
        """Find the faces of one picture at every scale, whatever was seen before.

        Args:
            image: uint8 (H, W, 3), RGB.
            is_enough: tells from the faces so far whether finer scales may be left out.

        Returns:
            As `detect`.
        """
        with self._silenced():
            faces = self._search(image, LEVELS, is_enough)
        self._quiet = self._quiet or bool(faces)
        return sorted(faces, key=area_of, reverse=True)[: self._max_faces]

    def track(self, image: Image, window: Box | None = None) -> list[Points]:
        """Find the large faces of a window of a video's next frame.

        Cheap: while the window stays where it is, meshes start from those of the frame before.

        Args:
            image: uint8 (H, W, 3), RGB.
            window: a square of the picture; None for the whole picture.

        Returns:
            One float32 (478, 3) per face, as `detect`, in any order.
        """
        if window != self._tracked:
            self._landmarker.follow(_BLANK)  # forget where faces were in the other window
            self._tracked = window
        view = View(image, 0, 0, 1) if window is None else cut_view(image, window)
        with self._silenced():
            faces = [view.to_picture(face) for face in self._landmarker.follow(view.pixels)]
        self._quiet = self._quiet or bool(faces)
        return faces

    def look(self, image: Image, window: Box) -> list[Box]:
        """Find rough places of faces in a window; some are false alarms, see `examine`."""
        with self._silenced():
            return self._look(image, window)

    def examine(self, image: Image, box: Box) -> Points | None:
        """Place the mesh, float32 (478, 3), where a face may be; None if it is none after all."""
        with self._silenced():
            return self._examine(image, box)

    def turn_needed(self, image: Image) -> str | None:
        """Return how to turn a picture so that a face in it is upright: a phrase, or None.

        Meant for pictures without an upright face; it takes three searches.
        """
        for num_turns, phrase in TURNS.items():
            turned = np.ascontiguousarray(np.rot90(image, num_turns))
            if _has_upright(self.search(turned, _has_upright)):
                return phrase
        return None

    def _silenced(self) -> AbstractContextManager[None]:
        """Keep the networks' chatter from stderr.

        On a terminal only until they have seen a face: silence would make a progress bar flicker.
        """
        may_speak = self._quiet and sys.stderr is not None and sys.stderr.isatty()
        return contextlib.nullcontext() if may_speak else native_logs_silenced()

    def _search(
        self,
        image: Image,
        levels: tuple[int, ...],
        is_enough: Callable[[list[Points]], bool] | None = None,
    ) -> list[Points]:
        """Look through finer and finer windows until there are as many faces as are wanted."""
        faces: list[Points] = []
        examined: list[Box] = []
        for windows in search_windows(image.shape[1], image.shape[0], levels):
            boxes = [box for window in windows for box in self._look(image, window)]
            for box in sorted(boxes, key=lambda box: -box.score):
                if any(is_same(box, other) for other in examined):
                    continue
                examined.append(box)
                face = self._examine(image, box)
                if face is not None and not any(
                    is_same(box_of(face), box_of(old)) for old in faces
                ):
                    faces.append(face)
                    examined.append(box_of(face))
            if len(faces) >= self._max_faces or (is_enough and is_enough(faces)):
                break
        return faces

    def _look(self, image: Image, window: Box, *, mirrored: bool = False) -> list[Box]:
        """Search one window of the picture; boxes are in the picture's pixels."""
        view = cut_view(image, window)
        pixels = np.ascontiguousarray(view.pixels[:, ::-1]) if mirrored else view.pixels
        return [
            Box(
                x=view.left + view.scale * (pixels.shape[1] - box.x if mirrored else box.x),
                y=view.top + view.scale * box.y,
                side=view.scale * box.side,
                score=box.score,
            )
            for box in self._landmarker.find(pixels)
        ]

    def _examine(self, image: Image, box: Box) -> Points | None:
        """The mesh at a place where a face may be, or None if there is none after all."""
        around = box._replace(side=3 * box.side)
        again = [
            max(matching, key=lambda other: other.score)
            for mirrored in (False, True)
            if (matching := self._matching(image, around, box, mirrored=mirrored))
        ]
        if sum(other.score for other in again) < MIN_CONFIRMED_SCORE:
            return None
        best = max(again, key=lambda other: other.score)
        for zoom in (2.0, 2.6):
            view = cut_view(image, best._replace(side=zoom * best.side))
            faces = [view.to_picture(face) for face in self._landmarker.place(view.pixels)]
            faces = [face for face in faces if is_same(box_of(face), best)]
            if faces:
                return min(faces, key=lambda face: distance(box_of(face), best))
        return None

    def _matching(self, image: Image, window: Box, box: Box, *, mirrored: bool) -> list[Box]:
        return [o for o in self._look(image, window, mirrored=mirrored) if is_same(box, o)]

    def _follow(self, image: Image) -> list[Points]:
        """Follow the faces of a video; one that is too small for that gets a window of its own."""
        view = cut_view(image, self._window) if self._window else View(image, 0, 0, 1)
        faces = [view.to_picture(face) for face in self._landmarker.follow(view.pixels)]
        if faces and self._window:
            face = box_of(faces[0])
            if distance(face, self._window) > 0.2 or not 0.2 < face.side / self._window.side < 0.5:
                self._watch(image, face)
        if not faces:
            self._window = None
            is_due = self._num_empty % FULL_SEARCH_EVERY == 0
            faces = self._search(image, LEVELS if is_due else LEVELS[:1])
            if faces and self._max_faces == 1:
                self._watch(image, box_of(max(faces, key=area_of)))
        self._num_empty = 0 if faces else self._num_empty + 1
        return faces

    def _watch(self, image: Image, face: Box) -> None:
        """Follow a face inside a window around it from the next frame on."""
        self._window = face._replace(side=3 * face.side)
        self._landmarker.follow(np.zeros_like(image))  # forget the points of the old window


def choose_in_picture(detector: FaceDetector, image: Image, choice: str) -> Points:
    """Find the faces of a picture and pick one of them.

    Args:
        detector: made for pictures, with `MAX_FACES`.
        image: uint8 (H, W, 3), RGB.
        choice: as `choose_face` takes it.

    Raises:
        NoFaceError: there is no face; where one lies on its side, the message says so.
        TalkheadError: as `choose_face`.
    """
    size = (image.shape[1], image.shape[0])
    check_choice(choice, size)
    faces = detector.detect(image)
    if not faces:
        raise no_face_error(NO_FACE, [image], detector)
    return choose_face(faces, choice, size)


def no_face_error(message: str, images: Iterable[Image], detector: FaceDetector) -> NoFaceError:
    """Return an error; where a picture has a face that is not upright, its message says so."""
    turns = (detector.turn_needed(image) for image in images)
    turn = next((turn for turn in turns if turn is not None), None)
    if turn is None:
        return NoFaceError(message)
    what = message.partition(":")[0]
    return NoFaceError(
        f"{what} that is upright, but one is found when it is turned {turn}: turn it"
    )


def check_choice(choice: str, size: tuple[int, int]) -> None:
    """Refuse a choice that cannot mean any face of a picture of (W, H), before any slow work.

    Raises:
        TalkheadError: it is no word, no number and no pixel of the picture.
    """
    word = choice.strip().lower()
    if word not in {"largest", "left", "right"} and not word.isdecimal():
        _parse_pixel(choice, size)


def choose_face(faces: list[Points], choice: str, size: tuple[int, int]) -> Points:
    """Pick one of the faces that were found.

    Args:
        faces: float32 (478, 3) each, pixels.
        choice: ``largest``, ``left``, ``right``, a number (1 is the leftmost face) or ``X,Y``
            (a pixel of the face).
        size: (W, H) of the picture.

    Raises:
        NoFaceError: there are no faces.
        TalkheadError: the choice is none of these, or names a face or a pixel that is not there.
    """
    if not faces:
        raise NoFaceError(NO_FACE)
    from_left = sorted(faces, key=lambda face: box_of(face).x)
    word = choice.strip().lower()
    if word == "largest":
        return max(faces, key=area_of)
    if word in {"left", "right"}:
        return from_left[0 if word == "left" else -1]
    if word.isdecimal():
        if not 1 <= int(word) <= len(faces):
            count = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
            raise TalkheadError(f"there is no face {word}: {count} found, counted from the left")
        return from_left[int(word) - 1]
    x, y = _parse_pixel(choice, size)

    def from_pixel(face: Points) -> float:
        return float(np.hypot(box_of(face).x - x, box_of(face).y - y))

    around = [face for face in faces if _contains(face, x, y)]
    if not around:
        near = box_of(min(faces, key=from_pixel))
        raise TalkheadError(
            f"there is no face at {x:g},{y:g}: the nearest one is at {near.x:.0f},{near.y:.0f}"
        )
    return min(around, key=from_pixel)


def _parse_pixel(choice: str, size: tuple[int, int]) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in choice.split(","))
    except ValueError:
        raise TalkheadError(
            f"cannot choose a face by {choice!r}: say largest, left, right, a number or X,Y in px"
        ) from None
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise TalkheadError(f"{x:g},{y:g} is outside the picture of {width}x{height} pixels")
    return x, y


def _has_upright(faces: list[Points]) -> bool:
    """Faces on their side are sometimes found, too."""
    ups = (face[FOREHEAD, :2] - face[CHIN, :2] for face in faces)
    return any(-up[1] > abs(up[0]) for up in ups)


def _contains(face: Points, x: float, y: float) -> bool:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return bool(low[0] <= x <= high[0] and low[1] <= y <= high[1])


def _published_networks() -> Path:
    from talkhead.weights import resolve_weights

    path = resolve_weights(TASK_WEIGHTS)
    return path / TASK_FILE if path.is_dir() else path
