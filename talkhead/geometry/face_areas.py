"""Divide a picture among the faces in it, so that none moves what belongs to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from talkhead.geometry.mesh import NUM_SURFACE_POINTS

Floats = npt.NDArray[np.float32]


class Area(NamedTuple):
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def face_areas(faces: Sequence[Floats], size: tuple[int, int]) -> list[Area]:
    """Return an area around each face; no two of them overlap.

    Two faces are divided by a line across the widest gap between them, which the larger face gets
    the larger part of. Where they overlap, the line runs through the overlap.

    Args:
        faces: (478, 3) each, pixels.
        size: (W, H) of the picture.
    """
    boxes = [_box(face) for face in faces]
    areas = [[0, 0, *size] for _ in boxes]
    for number, box in enumerate(boxes):
        for other in range(number + 1, len(boxes)):
            _divide((box, areas[number]), (boxes[other], areas[other]))
    return [Area(*area) for area in areas]


def _box(face: Floats) -> Floats:
    """Return left, top, right and bottom, (4,)."""
    surface = face[:NUM_SURFACE_POINTS, :2]
    return np.concatenate([surface.min(0), surface.max(0)])


def _divide(one: tuple[Floats, list[int]], other: tuple[Floats, list[int]]) -> None:
    """Narrow two areas in place, so that they touch at most."""
    ways = []
    for axis in (0, 1):
        first, second = sorted((one, other), key=lambda each: float(each[0][axis::2].sum()))
        ways.append((float(second[0][axis] - first[0][axis + 2]), -axis, first, second))
    gap, negative, first, second = max(ways, key=lambda way: way[:2])
    axis = -negative
    sides = [float(box[axis + 2] - box[axis]) for box, _ in (first, second)]
    line = round(float(first[0][axis + 2]) + gap * sides[0] / max(sum(sides), 1e-6))
    first[1][axis + 2] = min(first[1][axis + 2], line)
    second[1][axis] = max(second[1][axis], line)
