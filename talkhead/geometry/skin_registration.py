"""Skin registration: a linear model of how a detector's mesh slides over the skin, to undo it.

A detected mesh follows the face, but not each point of its skin. When the head turns or the jaw
drops, the texture under a triangle changes slightly, and an identity warped by such meshes is
misaligned with the true frame. The error depends on how the face moved, in much the same way for
all people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.geometry.pose import fit_head_pose

Floats = npt.NDArray[np.float32]

NUM_POSE_FEATURES = 6


@dataclass(frozen=True)
class Registration:
    """Linear model of the difference between the motion of the mesh and that of the skin.

    Attributes:
        components: float32 (K, 478, 3), onto which deformations in face space are projected.
        weights: float32 (6 + K, 478, 2), shift of every point, in eye distances, per unit of each
            feature.
    """

    components: Floats
    weights: Floats

    def features(self, points_px: Floats) -> tuple[Floats, Floats]:
        """Compute features of poses and deformations.

        Args:
            points_px: (T, 478, 3).

        Returns:
            Features (T, 6 + K) and eye distances in pixels (T,).
        """
        pose = fit_head_pose(points_px)
        view = np.stack(
            [pose.rotation[:, 2, 1], pose.rotation[:, 2, 0], pose.rotation[:, 1, 0]], axis=1
        )
        a, b, _ = view.T
        products = np.stack([a * a, b * b, a * b], axis=1)
        deformation = pose.to_face(points_px).reshape(len(points_px), -1)
        projected = deformation @ self.components.reshape(len(self.components), -1).T
        joined = np.concatenate([5 * view, 10 * products, projected], axis=1)
        return joined.astype(np.float32), pose.scale

    def apply(self, identity: Floats, target: Floats) -> Floats:
        """Move target meshes to where the identity's skin goes.

        Args:
            identity: (478, 3), pixels.
            target: (T, 478, 3), pixels.

        Returns:
            (T, 478, 3); z is unchanged.
        """
        before, _ = self.features(identity[None])
        after, scale = self.features(target)
        shift = np.tensordot(after - before, self.weights, axes=1) * scale[:, None, None]
        moved = target.astype(np.float32, copy=True)
        moved[..., :2] += shift
        return moved
