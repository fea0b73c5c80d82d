"""Square windows in a picture, and boxes around faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image

from talkhead.tracking.landmarkers import Box, Image, Points

LEVELS = (1, 2, 4)
"""The side of a level's windows is the picture's shorter side divided by this number."""

MIN_WINDOW_PX = 192
WORKING_PX = 512
"""Larger crops are averaged down to 1 to 2 times this: the networks' sampling skips pixels."""


class View(NamedTuple):
    """Part of a picture; `left`, `top` and `scale` (its pixel size) are in the picture's pixels."""

    pixels: Image
    left: int
    top: int
    scale: int

    def to_picture(self, face: Points) -> Points:
        """Map points of this view to the picture."""
        return np.asarray(face * self.scale + (self.left, self.top, 0), dtype=np.float32)


def cut_view(image: Image, window: Box) -> View:
    """Cut out a square, averaged down if large; edge pixels repeat outside the picture."""
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
    return View(np.ascontiguousarray(pixels), left=corner[1], top=corner[0], scale=scale)


def search_windows(
    width: int, height: int, levels: tuple[int, ...] = LEVELS
) -> Iterator[list[Box]]:
    """Yield the squares to search, level by level; they overlap by half, and each level is finer.

    The first level also includes the whole picture, with and without a wide border, as the detector
    needs some background around a face.
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


def box_of(face: Points) -> Box:
    """Return the square around a mesh."""
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    x, y = (low + high) / 2
    return Box(float(x), float(y), side=float((high - low).max()), score=1.0)


def area_of(face: Points) -> float:
    """Return the area of the rectangle around a mesh, square pixels."""
    return float(np.prod(np.ptp(face[:, :2], axis=0)))


def distance(box: Box, other: Box) -> float:
    """Return the distance between two centres, relative to the side of the larger box."""
    return float(np.hypot(box.x - other.x, box.y - other.y)) / max(box.side, other.side)


def is_same(box: Box, other: Box) -> bool:
    """Return whether two boxes may belong to the same face."""
    return distance(box, other) < 0.4 and 0.5 < box.side / other.side < 2
