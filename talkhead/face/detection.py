"""Find the faces of a picture, large or small, and place the 478-point mesh on each of them.

mediapipe's own detectors see a picture at 128 or 192 px and miss small faces in wide pictures. So
a picture is searched from coarse to fine through overlapping square windows. Each find must be
confirmed in an enlarged crop or in the mirror image of it, and only then the mesh is placed, in a
crop of its own. A watch or a dog's paw passes the first step, but not the second.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import PIL.Image

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

DETECTOR_NAME = SOLUTIONS_NAME
"""The detector that our training data was made with; `FaceDetector.name` is the one at hand."""

LEVELS = (1, 2, 4)
"""Windows of a level have the side: shorter side of the picture over this number."""

FULL_SEARCH_EVERY = 25
"""Of a video's frames without a face, one in so many is searched at every level."""

MIN_WINDOW_PX = 192
WORKING_PX = 512
"""Larger crops are averaged down to one to two times this: the networks' sampling skips pixels."""

MIN_CONFIRMED_SCORE = 0.6
"""Of the enlarged crop and of its mirror image together."""


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
        self._num_empty = 0  # frames without a face since the last one
        self._quiet = False
        with native_logs_silenced():
            self._landmarker: Landmarker = open_landmarker(
                max_faces if video else 0, lambda: networks or _published_networks()
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
        # The networks chatter when they first see a face. Graphs that are asked later, and threads
        # of theirs that lag behind, do so again; a terminal has a bar that must not flicker.
        is_told = self._quiet and sys.stderr is not None and sys.stderr.isatty()
        with contextlib.nullcontext() if is_told else native_logs_silenced():
            faces = self._follow(image) if self._video else self._search(image, LEVELS)
        self._quiet = self._quiet or bool(faces)
        return sorted(faces, key=_area, reverse=True)[: self._max_faces]

    def _search(self, image: Image, levels: tuple[int, ...]) -> list[Points]:
        """Look through finer and finer windows until there are as many faces as are wanted."""
        faces: list[Points] = []
        examined: list[Box] = []
        for windows in _windows(image.shape[1], image.shape[0], levels):
            boxes = [box for window in windows for box in self._look(image, window)]
            for box in sorted(boxes, key=lambda box: -box.score):
                if any(_same(box, other) for other in examined):
                    continue
                examined.append(box)
                face = self._examine(image, box)
                if face is not None and not any(_same(_box(face), _box(old)) for old in faces):
                    faces.append(face)
                    examined.append(_box(face))
            if len(faces) >= self._max_faces:
                break
        return faces

    def _look(self, image: Image, window: Box, *, mirrored: bool = False) -> list[Box]:
        """Search one window of the picture; boxes are in the picture's pixels."""
        view = _view(image, window)
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
            view = _view(image, best._replace(side=zoom * best.side))
            faces = [view.to_picture(face) for face in self._landmarker.place(view.pixels)]
            faces = [face for face in faces if _same(_box(face), best)]
            if faces:
                return min(faces, key=lambda face: _distance(_box(face), best))
        return None

    def _matching(self, image: Image, window: Box, box: Box, *, mirrored: bool) -> list[Box]:
        return [o for o in self._look(image, window, mirrored=mirrored) if _same(box, o)]

    def _follow(self, image: Image) -> list[Points]:
        """Follow the faces of a video; one that is too small for that gets a window of its own."""
        view = _view(image, self._window) if self._window else _View(image, 0, 0, 1)
        faces = [view.to_picture(face) for face in self._landmarker.follow(view.pixels)]
        if faces and self._window:
            face = _box(faces[0])
            if _distance(face, self._window) > 0.2 or not 0.2 < face.side / self._window.side < 0.5:
                self._watch(image, face)
        if not faces:
            self._window = None
            is_due = self._num_empty % FULL_SEARCH_EVERY == 0
            faces = self._search(image, LEVELS if is_due else LEVELS[:1])
            if faces and self._max_faces == 1:
                self._watch(image, _box(max(faces, key=_area)))
        self._num_empty = 0 if faces else self._num_empty + 1
        return faces

    def _watch(self, image: Image, face: Box) -> None:
        """Follow a face inside a window around it from the next frame on."""
        self._window = face._replace(side=3 * face.side)
        self._landmarker.follow(np.zeros_like(image))  # forget the points of the old window


def choose_face(faces: list[Points], choice: str, size: tuple[int, int]) -> Points:
    """Pick one of the faces that were found.

    Args:
        faces: float32 (478, 3) each, pixels.
        choice: ``largest``, ``left``, ``right``, a number (1 is the leftmost face) or ``X,Y``
            (a pixel: the face around it, or else the nearest one).
        size: (W, H) of the picture.

    Raises:
        NoFaceError: there are no faces.
        TalkheadError: the choice is none of these, or names a face or a pixel that is not there.
    """
    if not faces:
        raise NoFaceError("no face found: use a picture in which a face is clearly visible")
    from_left = sorted(faces, key=lambda face: _box(face).x)
    word = choice.strip().lower()
    if word == "largest":
        return max(faces, key=_area)
    if word in {"left", "right"}:
        return from_left[0 if word == "left" else -1]
    if word.isdecimal():
        if not 1 <= int(word) <= len(faces):
            count = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
            raise TalkheadError(f"there is no face {word}: {count} found, counted from the left")
        return from_left[int(word) - 1]
    try:
        x, y = (float(part) for part in word.split(","))
    except ValueError:
        raise TalkheadError(
            f"cannot choose a face by {choice!r}: say largest, left, right, a number or X,Y in px"
        ) from None
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise TalkheadError(f"{x:g},{y:g} is outside the picture of {width}x{height} pixels")
    around = [face for face in faces if _contains(face, x, y)]
    return min(
        around or faces, key=lambda face: float(np.hypot(_box(face).x - x, _box(face).y - y))
    )


def _published_networks() -> Path:
    from talkhead.weights import resolve_weights

    path = resolve_weights(TASK_WEIGHTS)
    return path / TASK_FILE if path.is_dir() else path


def _windows(width: int, height: int, levels: tuple[int, ...]) -> Iterator[list[Box]]:
    """Squares to search in, level by level: half overlapping, each level finer than the last.

    The first level also holds the whole picture, plain and with a wide border: the detector wants
    some background around a face.
    """
    short = min(width, height)
    for level in levels:
        side = short / level
        if level > 1 and side < MIN_WINDOW_PX:
            return
        num_across, num_down = (int(np.ceil(2 * (n - side) / side)) + 1 for n in (width, height))
        squares = [
            Box(float(x), float(y), side, 1.0)
            for y in np.linspace(side / 2, height - side / 2, num_down)
            for x in np.linspace(side / 2, width - side / 2, num_across)
        ]
        if level == 1:
            whole = Box(width / 2, height / 2, float(max(width, height)), 1.0)
            squares += [whole, whole._replace(side=1.6 * whole.side)]
        yield squares


class _View(NamedTuple):
    """A part of a picture, and where its corner and its pixels lie in the picture."""

    pixels: Image
    left: int
    top: int
    scale: int

    def to_picture(self, face: Points) -> Points:
        """Points of this view as points of the picture."""
        return np.asarray(face * self.scale + (self.left, self.top, 0), dtype=np.float32)


def _view(image: Image, window: Box) -> _View:
    """Cut out a square, averaged down if it is large; borders are repeated outside the picture."""
    scale = max(1, int(window.side) // WORKING_PX)
    num_cells = max(1, round(window.side / scale))
    inside, borders, corner = [], [], []
    for centre, length in ((window.y, image.shape[0]), (window.x, image.shape[1])):
        start = round(centre - window.side / 2)
        first = min(max(start, 0), length - 1)
        before = min(-((start - first) // scale), num_cells - 1)
        stop = min(length, first + (num_cells - before) * scale)
        inside.append(slice(first, stop))
        borders.append((before, num_cells - before - -((first - stop) // scale)))
        corner.append(first - before * scale)
    pixels = image[inside[0], inside[1]]
    if scale > 1:
        pixels = np.asarray(PIL.Image.fromarray(pixels).reduce(scale))
    pixels = np.pad(pixels, (*borders, (0, 0)), mode="edge")
    return _View(np.ascontiguousarray(pixels), left=corner[1], top=corner[0], scale=scale)


def _box(face: Points) -> Box:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    x, y = (low + high) / 2
    return Box(float(x), float(y), side=float((high - low).max()), score=1.0)


def _area(face: Points) -> float:
    return float(np.prod(np.ptp(face[:, :2], axis=0)))


def _contains(face: Points, x: float, y: float) -> bool:
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return bool(low[0] <= x <= high[0] and low[1] <= y <= high[1])


def _distance(box: Box, other: Box) -> float:
    """Between the centres, in sides of the larger one."""
    return float(np.hypot(box.x - other.x, box.y - other.y)) / max(box.side, other.side)


def _same(box: Box, other: Box) -> bool:
    """Whether two boxes can be the same face."""
    return _distance(box, other) < 0.4 and 0.5 < box.side / other.side < 2
