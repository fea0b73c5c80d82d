"""The square around a face that the renderer works on, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from talkhead.face.mesh import NUM_SURFACE_POINTS

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

CROP_SIDE_PX = 256
FACE_MARGIN = 1.5
"""Side of the crop over the longer side of the face's bounding box: leaves room for a dropping jaw."""
FACE_CENTRE_DROP = 0.04
"""The crop's centre lies this much of its side below the centre of the face, for the same reason."""


@dataclass(frozen=True)
class Crop:
    """A square in picture pixels: its centre and side, all floats; it may reach beyond the picture."""

    x: float
    y: float
    side: float

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return CROP_SIDE_PX / self.side

    def to_crop(self, points: Floats) -> Floats:
        """Map points in picture pixels, shape = (..., 2 or 3), to crop pixels; depth is scaled alike."""
        origin = np.zeros(points.shape[-1], np.float32)
        origin[:2] = self.x - self.side / 2, self.y - self.side / 2
        return ((points - origin) * np.float32(self.scale)).astype(np.float32)

    def to_picture(self, points: Floats) -> Floats:
        """Map points in crop pixels back to picture pixels: the inverse of `to_crop`."""
        origin = np.zeros(points.shape[-1], np.float32)
        origin[:2] = self.x - self.side / 2, self.y - self.side / 2
        return (points / np.float32(self.scale) + origin).astype(np.float32)

    def extract(self, picture: Pixels, side_px: int = CROP_SIDE_PX) -> Pixels:
        """Return the crop of a picture, uint8 (H, W, 3), as uint8 (side_px, side_px, 3); edges are repeated."""
        left, top = self.x - self.side / 2, self.y - self.side / 2
        ratio = self.side / side_px
        if ratio > 1.5:  # bilinear sampling alone would alias
            height, width = picture.shape[:2]
            size = (max(1, round(width / ratio)), max(1, round(height / ratio)))
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            to_small = np.array([size[0] / width, size[1] / height])
        else:
            small, to_small = picture, np.ones(2)
        # Pixel centres are at i + 0.5 on either side.
        matrix = np.array([[ratio, 0, left + 0.5 * ratio], [0, ratio, top + 0.5 * ratio]])
        matrix = matrix * to_small[:, None] - np.array([[0, 0, 0.5], [0, 0, 0.5]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(
            small, matrix, (side_px, side_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return np.ascontiguousarray(cut, np.uint8)


def face_crop(points_px: Floats) -> Crop:
    """Return the crop of a face from its mesh in picture pixels, shape = (478, 3)."""
    surface = points_px[:NUM_SURFACE_POINTS, :2]
    low, high = surface.min(0), surface.max(0)
    side = FACE_MARGIN * float((high - low).max())
    x, y = (low + high) / 2
    return Crop(float(x), float(y) + FACE_CENTRE_DROP * side, side)
