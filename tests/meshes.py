"""Meshes of known shape in crop pixels, and a hand-made motion basis."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.geometry.crop import face_crop
from talkhead.geometry.mesh import (
    LEFT_MOUTH_CORNER,
    LOWER_INNER_LIP,
    MEAN_FACE,
    NUM_SURFACE_POINTS,
    OUTER_LIPS,
    RIGHT_MOUTH_CORNER,
    UPPER_INNER_LIP,
    Indices,
)
from talkhead.geometry.motion_basis import MotionBasis, lid_region, speech_region

Floats = npt.NDArray[np.float32]


def floats(values: object) -> Floats:
    """Return a float32 array, as used for all points."""
    return np.array(values, np.float32)


def mean_mesh(width_px: float = 100.0, x: float = 0.0, y: float = 0.0) -> Floats:
    """Return the frontal mean face, (478, 3), with the given distance between outer eye corners."""
    return np.asarray(MEAN_FACE * width_px + np.array([x, y, 0]), np.float32)


def crop_mesh() -> Floats:
    """Return the mean face in pixels of its own crop, shape = (478, 3)."""
    points = mean_mesh()
    return face_crop(points).to_crop(points)


def opened(points: Floats, by: float) -> Floats:
    """Lower the lower lip and the jaw of a mesh, shape = (478, 3), in the mesh's unit."""
    return np.asarray(points + by * _jaw(), np.float32)


def as_batch(*meshes: Floats) -> Tensor:
    """Stack meshes into a tensor, shape = (B, 478, 3)."""
    return torch.from_numpy(np.stack(meshes))


def hand_made_basis() -> MotionBasis:
    """Return a basis of jaw down, upper lip up, mouth wide, lips forward, and closing lids."""
    region = speech_region()
    upper = np.zeros(len(MEAN_FACE), np.float32)
    upper[UPPER_INNER_LIP] = 1
    upper[OUTER_LIPS[1:10]] = 0.5
    side = np.sign(MEAN_FACE[:, 0]) * np.minimum(np.abs(MEAN_FACE[:, 0]) / 0.26, 1) * region
    lips = np.zeros(len(MEAN_FACE), np.float32)
    lips[[*UPPER_INNER_LIP, *LOWER_INNER_LIP, *OUTER_LIPS]] = 1
    components = np.stack(
        [
            0.05 * _jaw(),
            _along(1, -0.02 * upper),
            _along(0, 0.03 * side),
            _along(2, -0.03 * lips),
        ]
    )
    above = MEAN_FACE[:, 1] < MEAN_FACE[[33, 133, 362, 263], 1].mean()
    return MotionBasis(components.astype(np.float32), _along(1, 0.12 * lid_region() * above))


def turning(angle_rad: float, points: Floats) -> Floats:
    """Turn a mesh about the vertical axis through its centre, to the picture's right."""
    middle = points.mean(0)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    return np.asarray((points - middle) @ turn.T + middle, np.float32)


def _jaw() -> Floats:
    """Return offsets, (478, 3), that move all points below the lips down without folding.

    The maximum, at the centre, is 1.
    """
    x, y = MEAN_FACE[:, 0], MEAN_FACE[:, 1]

    def lip(inner: Indices) -> Floats:
        ring = MEAN_FACE[[RIGHT_MOUTH_CORNER, *inner, LEFT_MOUTH_CORNER]]
        return np.interp(x, ring[:, 0], ring[:, 1])

    upper, lower = lip(UPPER_INNER_LIP), lip(LOWER_INNER_LIP)
    height = np.maximum(lower - upper, 0.03)
    share = np.clip((y - (upper + lower) / 2) / height + 0.5, 0, 1)
    weight = share * np.clip(1.2 - np.abs(x) / 0.5, 0, 1)
    weight[NUM_SURFACE_POINTS:] = 0
    return _along(1, np.minimum(weight, 1))


def _along(axis: int, weight: Floats) -> Floats:
    moved = np.zeros((len(weight), 3), np.float32)
    moved[:, axis] = weight
    return moved
