"""The eyes' points, and the axes of each eye."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talkhead.geometry.mesh import LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE


@dataclass(frozen=True)
class Eye:
    """Mesh indices, all ordered from the picture's left to its right.

    `upper` and `lower` are the lids' edges from corner to corner; `brow` is the eyebrow's lower
    edge.
    """

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    brow: tuple[int, ...]
    iris: int


def _eye(ring: list[int], brow: list[int], iris: int, mirrored: bool) -> Eye:
    upper, lower, edge = ring[:9], [ring[0], *ring[:7:-1]], brow[:4:-1]
    if mirrored:
        upper, lower, edge = upper[::-1], lower[::-1], edge[::-1]
    return Eye(tuple(upper), tuple(lower), tuple(edge), iris)


EYES = (
    _eye(RIGHT_EYE.tolist(), RIGHT_BROW.tolist(), 468, False),
    _eye(LEFT_EYE.tolist(), LEFT_BROW.tolist(), 473, True),
)


@dataclass(frozen=True)
class EyeAxes:
    """An eye's own axes: from corner to corner, and down. The unit is the eye's width."""

    middle: Tensor  # (B, 1, 2)
    along: Tensor
    down: Tensor
    width: Tensor  # (B, 1)

    @staticmethod
    def of(points: Tensor, eye: Eye) -> EyeAxes:
        """Return the axes of an eye of meshes, (B, N, 2)."""
        start, end = points[:, None, eye.upper[0]], points[:, None, eye.upper[-1]]
        width = (end - start).norm(dim=-1).clamp(min=1e-3)
        along = (end - start) / width[..., None]
        down = torch.stack([-along[..., 1], along[..., 0]], -1)
        return EyeAxes((start + end) / 2, along, down, width)

    def read(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return both coordinates, (B, N) each, of points (B, N, 2)."""
        offset = points - self.middle
        return (offset * self.along).sum(-1) / self.width, (offset * self.down).sum(-1) / self.width

    def place(self, u: Tensor, v: Tensor) -> Tensor:
        """Return the points (B, N, 2) at coordinates (B, N)."""
        return self.middle + self.width[..., None] * (
            u[..., None] * self.along + v[..., None] * self.down
        )
