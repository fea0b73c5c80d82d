"""Registration: where a detector's mesh slides over the skin, and a linear model that undoes it.

A detected mesh follows a face, but not each point of its skin: when the head turns or the jaw
drops, the texture that a triangle covers is not quite the same any more, and an identity warped by
such meshes lies beside the truth. How far depends on how the face moved, much alike in all people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from talkhead.face.pose import fit_head_pose

Floats = npt.NDArray[np.float32]

NUM_POSE_FEATURES = 6


@dataclass(frozen=True)
class Registration:
    """Linear model of what a motion adds to a mesh beyond the motion of the skin.

    Attributes:
        components: float32 (K, 478, 3), what a deformation in face space is projected on.
        weights: float32 (6 + K, 478, 2), shift of every point in eye distances, for a unit of each
            feature.
    """

    components: Floats
    weights: Floats

    def features(self, points_px: Floats) -> tuple[Floats, Floats]:
        """Describe poses and deformations.

        Args:
            points_px: shape = (T, 478, 3).

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
            identity: shape = (478, 3), pixels.
            target: shape = (T, 478, 3), pixels.

        Returns:
            shape = (T, 478, 3); z is left alone.
        """
        before, _ = self.features(identity[None])
        after, scale = self.features(target)
        shift = np.tensordot(after - before, self.weights, axes=1) * scale[:, None, None]
        moved = target.astype(np.float32, copy=True)
        moved[..., :2] += shift
        return moved
