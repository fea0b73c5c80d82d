"""Draw meshes as lines and dots for visual inspection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from talkhead.geometry.mesh import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    NOSE_BRIDGE,
    NUM_SURFACE_POINTS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

FACE_COLOUR = (40, 160, 90)
LIPS_COLOUR = (220, 40, 90)
DOT_COLOUR = (70, 110, 220)
CLOSED_LINES = (
    *((ring, FACE_COLOUR) for ring in (FACE_OVAL, RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW)),
    *((ring, DOT_COLOUR) for ring in (RIGHT_IRIS, LEFT_IRIS)),
    *((ring, LIPS_COLOUR) for ring in (OUTER_LIPS, INNER_LIPS)),
)


def draw_mesh(picture: Pixels, points: Floats) -> Pixels:
    """Draw a mesh over a picture: contours as lines, lips in red, all other points as dots.

    Args:
        picture: uint8 (H, W, 3); not modified.
        points: (478, 3) or (478, 2), pixels of the picture.

    Returns:
        uint8 (H, W, 3).
    """
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    for x, y in points[:NUM_SURFACE_POINTS, :2].tolist():
        pen.point((x, y), fill=DOT_COLOUR)
    eyes_px = float(np.linalg.norm(points[33, :2] - points[263, :2]))
    width = max(1, round(eyes_px / 70))
    for ring, colour in CLOSED_LINES:
        corners = [tuple(corner) for corner in points[ring, :2].tolist()]
        pen.line([*corners, corners[0]], fill=colour, width=width, joint="curve")
    pen.line([tuple(p) for p in points[NOSE_BRIDGE, :2].tolist()], fill=FACE_COLOUR, width=width)
    return np.array(image)
