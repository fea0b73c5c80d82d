"""The square crop around a face that the renderer works on, and its inverse mapping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from talkhead.geometry.mesh import NUM_SURFACE_POINTS

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CROP_SIDE_PX = 256
STAGE_MARGIN_PX = 80
"""The stage extends this far beyond the crop on all sides; the head's motion fades out there."""
STAGE_SIDE_PX = CROP_SIDE_PX + 2 * STAGE_MARGIN_PX
FACE_MARGIN = 1.5
"""Side of the crop relative to the longer side of the face's box; leaves room for the jaw."""
FACE_CENTRE_DROP = 0.04
"""Shift of the crop's centre below the face's centre, as a share of its side, likewise."""
CENTRE_SMOOTH_S = 0.6
"""In a video, the crop's centre is smoothed over this time."""


@dataclass(frozen=True)
class Crop:
    """A square in picture pixels, given by centre and side; it may extend beyond the picture."""

    x: float
    y: float
    side: float

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return CROP_SIDE_PX / self.side

    def to_crop(self, points: Floats) -> Floats:
        """Map points (..., 2 or 3) from picture pixels to crop pixels; depth is scaled too."""
        origin = np.zeros(points.shape[-1], np.float32)
        origin[:2] = self.x - self.side / 2, self.y - self.side / 2
        return ((points - origin) * np.float32(self.scale)).astype(np.float32)

    def to_picture(self, points: Floats) -> Floats:
        """Map points from crop pixels to picture pixels, the inverse of `to_crop`."""
        origin = np.zeros(points.shape[-1], np.float32)
        origin[:2] = self.x - self.side / 2, self.y - self.side / 2
        return (points / np.float32(self.scale) + origin).astype(np.float32)

    def extract(self, picture: Pixels, side_px: int = CROP_SIDE_PX) -> Pixels:
        """Crop a picture, uint8 (H, W, 3), to uint8 (side_px, side_px, 3), repeating its edges."""
        height, width = picture.shape[:2]
        left, top = self.x - self.side / 2, self.y - self.side / 2
        right, bottom = left + self.side, top + self.side
        # Pillow filters properly at any scale, but only inside the image: repeat the edges first.
        before = (max(0, math.ceil(-top)), max(0, math.ceil(-left)))
        after = (max(0, math.ceil(bottom - height)), max(0, math.ceil(right - width)))
        rows = slice(max(0, math.floor(top) - 4), max(0, math.ceil(bottom) + 4))
        columns = slice(max(0, math.floor(left) - 4), max(0, math.ceil(right) + 4))
        cut = picture[rows, columns]
        if any(before + after):
            cut = np.pad(cut, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
        x, y = left - columns.start + before[1], top - rows.start + before[0]
        box = (max(x, 0.0), max(y, 0.0), x + self.side, y + self.side)
        image = Image.fromarray(np.ascontiguousarray(cut))
        box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
        resized = image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
        return np.array(resized, np.uint8)  # a writable copy


def face_crop(points_px: Floats) -> Crop:
    """Return the crop for a face mesh in picture pixels, (478, 3)."""
    centres, sides = _squares(points_px[None])
    return _lowered(centres[0], float(sides[0]))


def face_crops(points_px: Floats, rate_hz: float) -> list[Crop]:
    """Return the crops of a face in consecutive frames: centres follow it, the side is constant.

    Args:
        points_px: meshes, (T, 478, 3), picture pixels.
        rate_hz: frames per second, for smoothing the centres over time.
    """
    centres, sides = _squares(points_px)
    side = float(np.median(sides))
    smooth = gaussian_filter1d(centres, CENTRE_SMOOTH_S * rate_hz, axis=0, mode="nearest")
    return [_lowered(centre, side) for centre in smooth]


def _squares(points_px: Floats) -> tuple[Floats, Floats]:
    """Return the centre (T, 2) of the box around each mesh, and the crop's side (T,)."""
    surface = points_px[:, :NUM_SURFACE_POINTS, :2]
    low, high = surface.min(1), surface.max(1)
    return (low + high) / 2, FACE_MARGIN * (high - low).max(1)


def _lowered(centre: Floats, side: float) -> Crop:
    x, y = centre.tolist()
    return Crop(x, y + FACE_CENTRE_DROP * side, side)
