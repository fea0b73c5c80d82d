"""The 478-point face mesh: contours, triangles, mirror table, mean face and the 68-point view.

Indices are those of mediapipe's face mesh with iris points (468 surface points and two irises of
five points). Left and right are the person's own. Contours are closed rings unless noted otherwise.

Source: mediapipe's published connections; the table from 478 to 68 points is from
PeizhiYan/Mediapipe_2_Dlib_Landmarks (MIT).
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

NUM_POINTS = 478
NUM_SURFACE_POINTS = 468
CLOSED_LIPS = 0.015
"""Inner lips that open less than this, in eye distances, are closed; in p, b and m, real ones come
as close as 0.004."""


def _ring(*indices: int) -> Indices:
    ring = np.array(indices, dtype=np.int64)
    ring.setflags(write=False)
    return ring


# fmt: off
OUTER_LIPS = _ring(61, 185, 40, 39, 37, 0, 267, 269, 270, 409,
                   291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIPS = _ring(78, 191, 80, 81, 82, 13, 312, 311, 310, 415,
                   308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
UPPER_INNER_LIP = _ring(191, 80, 81, 82, 13, 312, 311, 310, 415)  # open, between the corners
LOWER_INNER_LIP = _ring(95, 88, 178, 87, 14, 317, 402, 318, 324)  # open, point below point
RIGHT_EYE = _ring(33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = _ring(263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
RIGHT_IRIS = _ring(469, 470, 471, 472)
LEFT_IRIS = _ring(474, 475, 476, 477)
RIGHT_BROW = _ring(70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = _ring(300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
FACE_OVAL = _ring(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288,
                  397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
                  172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
NOSE_BRIDGE = _ring(168, 6, 197, 195, 5)  # open
# Points that speech and blinks hardly move: eye corners, nose bridge and sides, forehead.
# The head pose is fitted to them.
STABLE_POINTS = _ring(33, 133, 362, 263, 168, 6, 197, 195, 9, 8, 151, 10, 109, 338, 67, 297,
                      103, 332, 54, 284, 193, 417, 122, 351, 196, 419, 21, 251)

_IBUG68: tuple[tuple[int, ...], ...] = (
    # jaw
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,),
    # brows
    (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,),
    # nose
    (168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,),
    # eyes
    (33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,),
    # outer lip, inner lip
    (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# fmt: on

UPPER_LIP_CENTRE, LOWER_LIP_CENTRE = 13, 14
NOSE_TIP = 4
RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER = 78, 308
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263
FOREHEAD, CHIN = 10, 152


def _table(name: str) -> npt.NDArray[np.generic]:
    with files(__package__).joinpath("mesh.npz").open("rb") as file, np.load(file) as tables:
        table: npt.NDArray[np.generic] = tables[name]
    table.setflags(write=False)
    return table


TRIANGLES: Indices = _table("triangles").astype(np.int64)
"""(898, 3), clockwise on screen when seen from the front; mouth and eye openings are filled."""
MIRROR: Indices = _table("mirror").astype(np.int64)
"""(478,), each point's mirror partner; points on the midline map to themselves."""
MEAN_FACE: Floats = _table("mean_face").astype(np.float32)
"""(478, 3), symmetric mean of about 90 people's aligned meshes; unit: eye distance."""

_INNER = set(INNER_LIPS.tolist())
MOUTH_TRIANGLES: Indices = np.flatnonzero([set(t) <= _INNER for t in TRIANGLES.tolist()])
"""Indices into `TRIANGLES` of the 18 triangles that fill the mouth opening."""


def to_ibug68(points: Floats) -> Floats:
    """Return the 68-point iBUG view of a mesh.

    Args:
        points: (..., 478, C).

    Returns:
        (..., 68, C). The jaw follows mesh edges, not the contour that 68-point detectors draw.
    """
    means = [points[..., list(group), :].mean(-2) for group in _IBUG68]
    return np.asarray(np.stack(means, axis=-2), np.float32)


def mouth_opening(points: Floats, unit: float | None = None) -> Floats:
    """Return the inner lips' opening over the distance of the outer eye corners, (...,).

    Args:
        points: (..., 478, 3).
        unit: that distance, as from `eye_distance` for a whole clip; by default each face's own.
    """
    gap = points[..., UPPER_LIP_CENTRE, :2] - points[..., LOWER_LIP_CENTRE, :2]
    return _in_eye_distances(gap, points, unit)


def mouth_width(points: Floats, unit: float | None = None) -> Floats:
    """Return the inner lips' width over the distance of the outer eye corners, (...,).

    Args:
        points: (..., 478, 3).
        unit: as for `mouth_opening`.
    """
    across = points[..., RIGHT_MOUTH_CORNER, :2] - points[..., LEFT_MOUTH_CORNER, :2]
    return _in_eye_distances(across, points, unit)


def eye_distance(points: Floats) -> float:
    """Return the median distance of the outer eye corners over a clip, (T, 478, 2 or 3).

    Frames without a face are nan. The result is 1 if no frame has a face.

    Detected eye corners jitter: their distance varies by .008 of itself from frame to frame, while
    the width of a calmly speaking mouth varies by .015.
    """
    lengths = _eye_distances(points)
    lengths = lengths[~np.isnan(lengths)]
    return float(np.median(lengths)) if len(lengths) else 1.0


def _in_eye_distances(vectors: Floats, points: Floats, unit: float | None) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1)
    return np.asarray(lengths / (_eye_distances(points) if unit is None else unit), np.float32)


def _eye_distances(points: Floats) -> Floats:
    across = points[..., RIGHT_EYE_CORNER, :] - points[..., LEFT_EYE_CORNER, :]
    return np.asarray(np.maximum(np.linalg.norm(across, axis=-1), 1e-6), np.float32)
