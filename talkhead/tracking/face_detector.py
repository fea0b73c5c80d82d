"""Find the faces in a picture, large or small, and fit the 478-point mesh to each.

mediapipe's own detectors see a picture at 128 or 192 px and miss small faces in wide pictures. So
the search goes from coarse to fine through overlapping square windows. Each detection must be
confirmed in an enlarged crop or its mirror image; only then is the mesh fitted, in a separate crop.
A watch or a dog's paw passes the first step but not the second.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from talkhead.errors import NoFaceError, TalkheadError
from talkhead.geometry.mesh import CHIN, FOREHEAD
from talkhead.tracking.landmarkers import (
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
from talkhead.tracking.views import (
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
"""The detector behind our training data; `FaceDetector.name` is the one in use."""

MAX_FACES = 32
"""Number of faces to request when the user chooses one of them."""

MAX_FOLLOWED = 8

FULL_SEARCH_EVERY = 25
"""While a video shows no face, one frame in this many is searched at every level."""

MIN_CONFIRMED_SCORE = 0.6
"""Minimum sum of the scores in the enlarged crop and in its mirror image."""

TURNS = {
    3: "90 degrees clockwise",
    1: "90 degrees counterclockwise",
    2: "180 degrees",
}
"""Keys are numbers of counterclockwise quarter turns, as in `numpy.rot90`."""

NO_FACE = "no face found: use a picture with a clearly visible face"

_BLANK: Image = np.zeros((64, 64, 3), dtype=np.uint8)


class FaceDetector:
    """Fits mediapipe's 478-point mesh to faces in pictures, or in a video frame by frame.

    Args:
        max_faces: most faces to return.
        video: the pictures are consecutive frames of one video; searches start at the last face.
        networks: ``face_landmarker.task`` for mediapipe 1.x; the published one by default.

    Raises:
        TalkheadError: mediapipe is not installed.
        WeightsError: mediapipe is 1.x and its network file is missing or unreadable.
    """

    def __init__(
        self, max_faces: int = 1, video: bool = False, networks: Path | None = None
    ) -> None:
        self._max_faces = max_faces
        self._video = video
        self._window: Box | None = None  # around a small face being followed
        self._tracked: Box | None = None  # the last window passed to `track`
        self._num_empty = 0  # frames since the last face
        self._quiet = False
        with native_logs_silenced():
            self._landmarker: Landmarker = open_landmarker(
                min(max_faces, MAX_FOLLOWED) if video else 0,
                lambda: networks or _published_networks(),
            )
        self.name = self._landmarker.name

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        with native_logs_silenced():  # closing waits for the graphs' threads, which may log
            self._landmarker.close()

    def detect(self, image: Image) -> list[Points]:
        """Find the faces in a picture, or in a video's next frame.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            One float32 (478, 3) per face, largest first, in pixels: x right, y down, z on the same
            scale as x and negative toward the camera.
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
        """Find the faces in one picture at every scale, regardless of earlier frames.

        Args:
            image: uint8 (H, W, 3), RGB.
            is_enough: given the faces so far, returns whether to skip finer scales.

        Returns:
            Meshes as from `detect`.
        """
        with self._silenced():
            faces = self._search(image, LEVELS, is_enough)
        self._quiet = self._quiet or bool(faces)
        return sorted(faces, key=area_of, reverse=True)[: self._max_faces]

    def track(self, image: Image, window: Box | None = None) -> list[Points]:
        """Find the large faces in a window of a video's next frame.

        This is cheap: while the window does not move, fitting starts from the previous meshes.

        Args:
            image: uint8 (H, W, 3), RGB.
            window: a square in the picture; None for the whole picture.

        Returns:
            One float32 (478, 3) per face, as from `detect`, in any order.
        """
        if window != self._tracked:
            self._landmarker.follow(_BLANK)  # resets the tracker for the new window
            self._tracked = window
        view = View(image, 0, 0, 1) if window is None else cut_view(image, window)
        with self._silenced():
            faces = [view.to_picture(face) for face in self._landmarker.follow(view.pixels)]
        self._quiet = self._quiet or bool(faces)
        return faces

    def look(self, image: Image, window: Box) -> list[Box]:
        """Return rough face boxes in a window; `examine` weeds out false positives."""
        with self._silenced():
            return self._look(image, window)

    def examine(self, image: Image, box: Box) -> Points | None:
        """Fit the mesh, float32 (478, 3), to a candidate box; None for a false positive."""
        with self._silenced():
            return self._examine(image, box)

    def turn_needed(self, image: Image) -> str | None:
        """Return the rotation that makes a face upright, as a phrase, or None if none does.

        Meant for pictures without an upright face; runs up to three searches.
        """
        for num_turns, phrase in TURNS.items():
            turned = np.ascontiguousarray(np.rot90(image, num_turns))
            if _has_upright(self.search(turned, _has_upright)):
                return phrase
        return None

    def _silenced(self) -> AbstractContextManager[None]:
        """Keep the networks' logs off stderr.

        On a terminal this stops after the first face, as silencing makes a progress bar flicker.
        """
        may_speak = self._quiet and sys.stderr is not None and sys.stderr.isatty()
        return contextlib.nullcontext() if may_speak else native_logs_silenced()

    def _search(
        self,
        image: Image,
        levels: tuple[int, ...],
        is_enough: Callable[[list[Points]], bool] | None = None,
    ) -> list[Points]:
        """Search finer and finer windows until enough faces are found."""
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
        """Search one window; boxes are in pixels of the whole picture."""
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
        """Return the mesh at a candidate box, or None for a false positive."""
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
        """Follow the faces in a video; a single small face is followed in a window around it."""
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
        """Follow a face in a window around it, starting with the next frame."""
        self._window = face._replace(side=3 * face.side)
        self._landmarker.follow(np.zeros_like(image))  # resets the tracker for the new window


def choose_in_picture(detector: FaceDetector, image: Image, choice: str) -> Points:
    """Find the faces in a picture and choose one of them.

    Args:
        detector: opened for pictures, with `MAX_FACES`.
        image: uint8 (H, W, 3), RGB.
        choice: as in `choose_face`.

    Raises:
        NoFaceError: no face was found; the message says if rotating the picture reveals one.
        TalkheadError: as in `choose_face`.
    """
    faces = detect_faces(detector, image, [choice])
    return choose_face(faces, choice, (image.shape[1], image.shape[0]))


def detect_faces(detector: FaceDetector, image: Image, choices: Iterable[str]) -> list[Points]:
    """Return the faces in a picture, largest first; arguments and errors as above."""
    for choice in choices:
        check_choice(choice, (image.shape[1], image.shape[0]))
    faces = detector.detect(image)
    if not faces:
        raise no_face_error(NO_FACE, [image], detector)
    return faces


def no_face_error(message: str, images: Iterable[Image], detector: FaceDetector) -> NoFaceError:
    """Return an error; if a rotated picture shows a face, the message says how to rotate it."""
    turns = (detector.turn_needed(image) for image in images)
    turn = next((turn for turn in turns if turn is not None), None)
    if turn is None:
        return NoFaceError(message)
    what = message.partition(":")[0]
    return NoFaceError(
        f"{what} that is upright, but one appears when it is rotated {turn}: rotate it"
    )


def check_choice(choice: str, size: tuple[int, int]) -> None:
    """Check a choice against a picture's size (W, H), before any slow work.

    Raises:
        TalkheadError: it is not a known word, a number, or a pixel inside the picture.
    """
    word = choice.strip().lower()
    if word not in {"largest", "left", "right"} and not word.isdecimal():
        _parse_pixel(choice, size)


def choose_face(faces: list[Points], choice: str, size: tuple[int, int]) -> Points:
    """Choose one of several faces.

    Args:
        faces: float32 (478, 3) each, pixels.
        choice: ``largest``, ``left``, ``right``, a number (1 is the leftmost face) or ``X,Y``
            (a pixel on the face).
        size: (W, H) of the picture.

    Raises:
        NoFaceError: `faces` is empty.
        TalkheadError: the choice is invalid, or no face has that number or contains that pixel.
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
            raise TalkheadError(f"no face {word}: {count} found, numbered from the left")
        return from_left[int(word) - 1]
    x, y = _parse_pixel(choice, size)

    def from_pixel(face: Points) -> float:
        return float(np.hypot(box_of(face).x - x, box_of(face).y - y))

    around = [face for face in faces if _contains(face, x, y)]
    if not around:
        near = box_of(min(faces, key=from_pixel))
        raise TalkheadError(
            f"no face at {x:g},{y:g}: the nearest one is at {near.x:.0f},{near.y:.0f}"
        )
    return min(around, key=from_pixel)


def _parse_pixel(choice: str, size: tuple[int, int]) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in choice.split(","))
    except ValueError:
        raise TalkheadError(
            f"cannot choose a face by {choice!r}: use largest, left, right, a number or X,Y in px"
        ) from None
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise TalkheadError(f"{x:g},{y:g} is outside the picture, which is {width} x {height} px")
    return x, y


def _has_upright(faces: list[Points]) -> bool:
    """Return whether any face is upright: the detector sometimes finds faces on their side too."""
    ups = (face[FOREHEAD, :2] - face[CHIN, :2] for face in faces)
    return any(-up[1] > abs(up[0]) for up in ups)


def _contains(face: Points, x: float, y: float) -> bool:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return bool(low[0] <= x <= high[0] and low[1] <= y <= high[1])


def _published_networks() -> Path:
    from talkhead.weights import resolve_weights

    path = resolve_weights(TASK_WEIGHTS)
    return path / TASK_FILE if path.is_dir() else path
