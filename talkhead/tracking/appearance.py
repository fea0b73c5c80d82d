"""Compare how two faces look, by mesh proportions and by colours in and around the face.

The measure is rough: it separates most people within one video, but not arbitrary people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from talkhead.geometry.mesh import (
    CHIN,
    FOREHEAD,
    INNER_LIPS,
    MEAN_FACE,
    MIRROR,
    NUM_SURFACE_POINTS,
    OUTER_LIPS,
)
from talkhead.geometry.pose import fit_head_pose
from talkhead.tracking.landmarkers import Image, Points

Floats = npt.NDArray[np.float32]

SAME = 1.2
"""A lone face below this distance is the same person's. 98 % of pairs of two people are farther
apart, 80 % of pairs of one person's faces are closer."""
SAME_OF_SEVERAL = 1.6
"""Distance limit for the nearest of several faces."""
MARGIN = 0.5
"""The nearest of several faces must also be closer than the second by this much."""
NUM_REMEMBERED = 12
_BROW, _RIGHT_CHEEK, _LEFT_CHEEK = 151, 50, 280
_NOSE_TIP = 1
_SHAPE_SCALE = 0.04  # root mean square distance between points, in eye distances
_COLOUR_SCALE = 0.2  # root mean square difference of log colours


def _upper_points() -> npt.NDArray[np.int64]:
    """Return the points above the mouth, which speech hardly moves."""
    lips = {*OUTER_LIPS.tolist(), *INNER_LIPS.tolist()}
    limit = float(MEAN_FACE[_NOSE_TIP, 1]) + 0.1
    upper = [k for k in range(NUM_SURFACE_POINTS) if MEAN_FACE[k, 1] < limit and k not in lips]
    return np.array(upper, np.int64)


_UPPER = _upper_points()


class Looks:
    """The looks of one face in one frame.

    Args:
        frame: uint8 (H, W, 3), RGB.
        face: float32 (478, 3), pixels.
    """

    def __init__(self, frame: Image, face: Points) -> None:
        pose = fit_head_pose(face)
        shape = pose.to_face(face)
        self._shape = ((shape + shape[MIRROR] * (-1, 1, 1)) / 2)[_UPPER]
        up = shape[FOREHEAD] - shape[CHIN]
        # Hair, and clothing below the chin.
        around = [shape[FOREHEAD] + 0.12 * up, shape[FOREHEAD] + 0.25 * up, shape[CHIN] - 0.55 * up]
        places = [*face[[_RIGHT_CHEEK, _LEFT_CHEEK, _BROW]], *pose.to_picture(np.stack(around))]
        radii = np.array([0.11, 0.11, 0.11, 0.14, 0.18, 0.22]) * float(pose.scale)
        self._colours = np.stack(
            [_colour(frame, place, radius) for place, radius in zip(places, radii, strict=True)]
        )

    def distance(self, other: Looks) -> float:
        """Return how much two faces differ: about 0.8 for the same person, 2.3 for two people."""
        apart = np.linalg.norm(self._shape - other._shape) / np.sqrt(len(_UPPER))
        colours = np.square(self._colours - other._colours)
        difference = np.sqrt(np.nanmean(colours)) if not np.isnan(colours).all() else 0.0
        return float(apart / _SHAPE_SCALE + difference / _COLOUR_SCALE)


class Person:
    """The looks of one person, and of other people in the same video."""

    def __init__(self) -> None:
        self._own: deque[Looks] = deque(maxlen=NUM_REMEMBERED)
        self._others: deque[Looks] = deque(maxlen=NUM_REMEMBERED)

    def __bool__(self) -> bool:
        return bool(self._own)

    def remember(self, frame: Image, face: Points) -> None:
        """Add the person's looks in a frame."""
        self._own.append(Looks(frame, face))

    def remember_other(self, frame: Image, face: Points) -> None:
        """Add another person's looks."""
        self._others.append(Looks(frame, face))

    def without_others(self, frame: Image, faces: list[Points]) -> list[Points]:
        """Return the faces without those that clearly belong to another remembered person."""
        return [face for face in faces if not self._is_other(Looks(frame, face))]

    def recognise(self, frame: Image, faces: list[Points]) -> Points | None:
        """Return the person's face in another frame, or None if the match is not clear."""
        distances = [_nearest(Looks(frame, face), self._own) for face in faces]
        ranked = np.argsort(distances)
        if not len(ranked):
            return None
        nearest = distances[ranked[0]]
        if len(ranked) == 1:
            is_clear = nearest < SAME
        else:
            is_clear = nearest < SAME_OF_SEVERAL and distances[ranked[1]] - nearest > MARGIN
        return faces[ranked[0]] if is_clear else None

    def difference(self, frame: Image, face: Points) -> float:
        """Return how much a face differs from the person's, as `Looks.distance`."""
        return _nearest(Looks(frame, face), self._own)

    def nearest(self, frame: Image, faces: list[Points]) -> Points:
        """Return the face that looks most like the person."""
        return min(faces, key=lambda face: _nearest(Looks(frame, face), self._own))

    def _is_other(self, looks: Looks) -> bool:
        other = _nearest(looks, self._others)
        return other < SAME_OF_SEVERAL and _nearest(looks, self._own) - other > MARGIN


def _nearest(looks: Looks, known: Iterable[Looks]) -> float:
    return min((looks.distance(other) for other in known), default=np.inf)


def _colour(frame: Image, place: Points, radius: float) -> Floats:
    """Return the log colour ratios and log brightness around a point, shape = (3,)."""
    (x, y), size = place[:2], frame.shape
    rows = slice(max(0, round(float(y - radius))), max(0, round(float(y + radius)) + 1))
    columns = slice(max(0, round(float(x - radius))), max(0, round(float(x + radius)) + 1))
    pixels = frame[rows, columns].reshape(-1, size[2])
    if not len(pixels):
        return np.full(3, np.nan, np.float32)
    red, green, blue = pixels.mean(0) + 4.0  # keeps the ratios stable for dark pixels
    light = 0.5 * np.log(red + green + blue)
    return np.array([np.log(red / green), np.log(blue / green), light], np.float32)
