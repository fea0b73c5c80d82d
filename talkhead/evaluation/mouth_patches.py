"""Patches of opened mouths, in the mouth's own coordinates, and what is measured inside the lips.

A patch is a square of 1.1 mouth widths, upright along the line of the corners and centred on the
inner lips. It is cut at the landmarks from which the frame was rendered, so no detector is between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.geometry.crop import CROP_SIDE_PX
from talkhead.geometry.mesh import (
    INNER_LIPS,
    LEFT_MOUTH_CORNER,
    OUTER_LIPS,
    RIGHT_MOUTH_CORNER,
    mouth_opening,
)
from talkhead.landmarks2video.mouth_patch import lip_distances

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PATCH_PX = 64
PATCH_WIDTHS = 1.1
"""Side of the patch in widths of the inner lips."""
MIN_OPENING = 0.04
"""Lips that open less, in eye distances, are not measured."""
MIN_INSIDE_PX = 40
"""Nor are mouths with fewer pixels inside."""
EROSION_PX = 1.0
"""The inside keeps this distance from the edge of the inner lips."""
LIPS_ROOM_PX = 3.0
"""Patches show the skin up to this distance from the outer lips; the rest is painted over."""
GREY = 128
_SAMPLES = 2
"""Samples per pixel of the patch, each way, as frames may be finer than patches."""


@dataclass(frozen=True)
class MouthPatches:
    """Patches of the frames of a video whose mouths are opened.

    Attributes:
        frames: int64 (N,), numbers of the frames, in order.
        pixels: uint8 (N, 64, 64, 3).
        inside: bool (N, 64, 64), what is to see between the lips.
        lips: bool (N, 64, 64), the whole mouth with a margin around the outer lips.
    """

    frames: npt.NDArray[np.int64]
    pixels: Pixels
    inside: Mask
    lips: Mask

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.frames)

    def before(self, frame: int) -> MouthPatches:
        """Return the patches of the frames before a frame."""
        count = int(np.searchsorted(self.frames, frame))
        return MouthPatches(
            self.frames[:count], self.pixels[:count], self.inside[:count], self.lips[:count]
        )

    def without_skin(self) -> Pixels:
        """Return the patches with everything but the mouth painted grey."""
        return np.where(self.lips[..., None], self.pixels, np.uint8(GREY))


def cut_mouths(frames: Pixels, points: Floats, first: int = 0) -> MouthPatches:
    """Cut patches of the opened mouths out of frames.

    Args:
        frames: uint8 (T, S, S, 3), crops of any size.
        points: (T, 478, 3), crop pixels, of 256 to the side; nan in frames without a face.
        first: number of the first frame.
    """
    opened = np.flatnonzero(mouth_opening(points) >= MIN_OPENING)  # nan is not
    if not len(opened):
        return _none()
    chosen = points[opened, :, :2]
    placements = patch_placements(chosen)
    inner, outer = (_in_patches(chosen[:, ring], placements) for ring in (INNER_LIPS, OUTER_LIPS))
    inside = lip_distances(inner, _grid(PATCH_PX)[None]) >= EROSION_PX
    kept = (inside.sum((1, 2)) >= MIN_INSIDE_PX).numpy()
    opened, placements, inside, outer = opened[kept], placements[kept], inside[kept], outer[kept]
    if not len(opened):
        return _none()
    lips = lip_distances(outer, _grid(PATCH_PX)[None]) >= -LIPS_ROOM_PX
    pixels = np.concatenate(
        [
            _sample(frames[index], placement)
            for index, placement in zip(opened, placements, strict=True)
        ]
    )
    return MouthPatches(first + opened, pixels, inside.numpy(), (lips | inside).numpy())


def join_patches(parts: list[MouthPatches]) -> MouthPatches:
    """Join the patches of consecutive batches."""
    parts = parts or [_none()]
    names = ("frames", "pixels", "inside", "lips")
    return MouthPatches(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
    )


def patch_placements(points: Floats) -> Tensor:
    """Return the affine maps (B, 2, 3) from pixels of the patch to those of the crop.

    Args:
        points: (B, 478, 2), crop pixels.
    """
    across = points[:, LEFT_MOUTH_CORNER] - points[:, RIGHT_MOUTH_CORNER]
    x_axis = across * np.float32(PATCH_WIDTHS / PATCH_PX)
    y_axis = np.stack([-x_axis[:, 1], x_axis[:, 0]], -1)
    axes = np.stack([x_axis, y_axis], -1)
    middle = np.full(2, PATCH_PX / 2, np.float32)
    offset = points[:, INNER_LIPS].mean(1) - axes @ middle
    return torch.from_numpy(np.concatenate([axes, offset[..., None]], -1).astype(np.float32))


def laplacian_variances(patches: MouthPatches) -> Floats:
    """Return the variance of the Laplacian of grey patches inside the lips, (N,)."""
    grey = torch.from_numpy(patches.pixels).float().mean(-1)[:, None]
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    edges = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), "replicate"), kernel)[:, 0].numpy()
    return np.array([e[m].var() for e, m in zip(edges, patches.inside, strict=True)], np.float32)


def changes(patches: MouthPatches) -> Floats:
    """Return the mean absolute change between successive frames inside both mouths, (M,).

    Frames without an opened mouth between them make no pair.
    """
    after = np.flatnonzero(np.diff(patches.frames) == 1) + 1
    values = []
    for index in after:
        both = patches.inside[index] & patches.inside[index - 1]
        if both.sum() >= MIN_INSIDE_PX:
            now, then = (patches.pixels[k][both].astype(np.float32) for k in (index, index - 1))
            values.append(np.abs(now - then).mean())
    return np.array(values, np.float32)


def inside_errors(generated: MouthPatches, real: MouthPatches) -> npt.NDArray[np.float64]:
    """Return the mean squared error inside the lips of frames opened in both videos, (M,).

    Both were cut at the same landmarks.
    """
    _, ours, theirs = np.intersect1d(generated.frames, real.frames, return_indices=True)
    errors = [
        np.square(
            generated.pixels[i][real.inside[k]].astype(np.float64) - real.pixels[k][real.inside[k]]
        ).mean()
        for i, k in zip(ours, theirs, strict=True)
    ]
    return np.array(errors, np.float64)


def spread_evenly(patches: Pixels, count: int) -> Pixels:
    """Return at most `count` patches, spread evenly over all, (M, 64, 64, 3)."""
    if len(patches) <= count:
        return patches
    return np.asarray(patches[np.linspace(0, len(patches) - 1, count).round().astype(int)])


def _none() -> MouthPatches:
    square = (0, PATCH_PX, PATCH_PX)
    masks = np.zeros(square, np.bool_)
    return MouthPatches(np.zeros(0, np.int64), np.zeros((*square, 3), np.uint8), masks, masks)


def _grid(num_samples: int) -> Tensor:
    """Return the positions of samples in a patch, (num_samples, num_samples, 2)."""
    line = (torch.arange(num_samples) + 0.5) * (PATCH_PX / num_samples)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)


def _in_patches(points: Floats, placements: Tensor) -> Tensor:
    """Map points (B, N, 2) from crop pixels to those of the patches."""
    shifted = torch.from_numpy(points) - placements[:, None, :, 2]
    mapped: Tensor = shifted @ torch.linalg.inv(placements[..., :2]).transpose(-1, -2)
    return mapped


def _sample(frame: Pixels, placement: Tensor) -> Pixels:
    """Sample one patch, (1, 64, 64, 3)."""
    image = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
    places = _grid(PATCH_PX * _SAMPLES) @ placement[:, :2].T + placement[:, 2]
    sampled = functional.grid_sample(
        image,
        places[None] * (2 / CROP_SIDE_PX) - 1,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    patch = functional.avg_pool2d(sampled, _SAMPLES).round().byte()
    pixels: Pixels = patch.permute(0, 2, 3, 1).numpy()
    return pixels
