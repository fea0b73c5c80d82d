"""Rigid head pose: a similarity transform fitted to points that speech does not move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.geometry.mesh import MEAN_FACE, STABLE_POINTS, Indices

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeadPose:
    """Similarity transforms from face space (unit: eye distance) to picture pixels.

    points_px = scale * points @ rotation.T + translation

    Attributes:
        scale: (...,), pixels per eye distance.
        rotation: (..., 3, 3), proper rotations.
        translation: (..., 3), pixels.
    """

    scale: Floats
    rotation: Floats
    translation: Floats

    def to_picture(self, points: Floats) -> Floats:
        """Map face-space points, (..., N, 3), to pixels."""
        turned = points @ np.swapaxes(self.rotation, -1, -2)
        moved = self.scale[..., None, None] * turned + self.translation[..., None, :]
        return np.asarray(moved, np.float32)

    def to_face(self, points_px: Floats) -> Floats:
        """Map pixels, (..., N, 3), to face space, the inverse of `to_picture`."""
        centred = (points_px - self.translation[..., None, :]) / self.scale[..., None, None]
        return np.asarray(centred @ self.rotation, np.float32)


def fit_similarity(source: Floats, target: Floats) -> HeadPose:
    """Return the least-squares similarity transform from source points to target points.

    Args:
        source: (..., N, 3) or (N, 3).
        target: (..., N, 3).

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns" (1991).
    """
    source = np.broadcast_to(source, target.shape).astype(np.float64)
    target = target.astype(np.float64)
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    source_c, target_c = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(np.swapaxes(target_c, -1, -2) @ source_c)
    sign = np.ones_like(s)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))  # never a reflection
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / (source_c**2).sum((-1, -2))
    moved = scale[..., None, None] * source_mean @ np.swapaxes(rotation, -1, -2)
    translation = (target_mean - moved)[..., 0, :]
    return HeadPose(
        scale.astype(np.float32), rotation.astype(np.float32), translation.astype(np.float32)
    )


def fit_head_pose(
    points_px: Floats, shape: Floats = MEAN_FACE, indices: Indices = STABLE_POINTS
) -> HeadPose:
    """Return the head pose of meshes (..., 478, 3) relative to a face at rest (478, 3)."""
    return fit_similarity(shape[indices], points_px[..., indices, :])


def rotation_from_angles(angles_rad: Floats) -> Floats:
    """Return rotations about x (pitch), y (yaw) and z (roll), applied in that order.

    Args:
        angles_rad: (..., 3), radians.

    Returns:
        (..., 3, 3).
    """
    cos, sin = np.cos(angles_rad), np.sin(angles_rad)
    one, zero = np.ones_like(cos[..., 0]), np.zeros_like(cos[..., 0])

    def matrix(*rows: Floats) -> Floats:
        return np.stack(rows, -1).reshape(*one.shape, 3, 3)

    x = matrix(one, zero, zero, zero, cos[..., 0], -sin[..., 0], zero, sin[..., 0], cos[..., 0])
    y = matrix(cos[..., 1], zero, sin[..., 1], zero, one, zero, -sin[..., 1], zero, cos[..., 1])
    z = matrix(cos[..., 2], -sin[..., 2], zero, sin[..., 2], cos[..., 2], zero, zero, zero, one)
    return (z @ y @ x).astype(np.float32)


def angles_from_rotation(rotation: Floats) -> Floats:
    """Return the angles of rotations, (..., 3, 3) to (..., 3); inverse of `rotation_from_angles`.

    Pitch, yaw and roll are unique for yaws below 90 degrees.
    """
    pitch = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    yaw = -np.arcsin(rotation[..., 2, 0].clip(-1, 1))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.asarray(np.stack([pitch, yaw, roll], axis=-1), np.float32)
