"""What each emotion adds to the shape of a face."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from talkhead.emotions import AUTO, EMOTIONS, NEUTRAL, one_hot
from talkhead.errors import WeightsError
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.motion_basis import separate_lips
from talkhead.geometry.pose import fit_head_pose
from talkhead.networks import Network, register_to_config

Floats = npt.NDArray[np.float32]


class Expressions(Network):
    """A table of expressions, measured on people who act emotions.

    Buffers: `offsets` (8, 478, 3), what each emotion (MEAD's names) adds to a face that is upright
    and facing the camera, in units of the distance between its outer eye corners; `known` (8,), 1
    for the emotions that were measured.
    """

    offsets: Tensor
    known: Tensor

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.zeros(len(EMOTIONS), NUM_POINTS, 3))
        self.register_buffer("known", torch.zeros(len(EMOTIONS)))

    def mask_unknown(self, emotion: Floats, name: str = AUTO) -> Floats:
        """Remove the emotions that were not measured from probabilities, (8,).

        Raises:
            WeightsError: the user names such an emotion.
        """
        known = self.known.float().cpu().numpy() > 0
        if name != AUTO and not known[EMOTIONS.index(name)]:
            names = ", ".join(np.array(EMOTIONS)[known]) or "none"
            raise WeightsError(
                f"these weights have no {name} face; the emotions they have: {names}"
            )
        left = emotion * known
        total = float(left.sum())
        return left / np.float32(total) if total > 0 else one_hot(NEUTRAL)

    def shape_of(self, emotion: Floats) -> Floats:
        """Return the mean expression, (478, 3) in eye distances, for probabilities (8,)."""
        return np.asarray(np.tensordot(emotion, self.offsets.float().cpu().numpy(), 1), np.float32)


def express(windows: Iterator[Floats], expression: Floats) -> Iterator[Floats]:
    """Add an expression, (478, 3) in eye distances, to windows of faces, (T, 478, 3).

    Without any expression, faces stay exactly as they are.
    """
    if not expression.any():
        yield from windows
        return
    for meshes in windows:
        pose = fit_head_pose(meshes)
        turned = expression @ np.swapaxes(pose.rotation, -1, -2)
        moved = np.asarray(meshes + pose.scale[:, None, None] * turned, np.float32)
        yield separate_lips(moved)
