"""Whether a face stays the same person: distances between face embeddings.

The embedding is dlib's residual network of 128 numbers. Its authors call two pictures closer than
0.6 the same person. It is the optional extra `identity`.

Source: King, "Dlib-ml: A machine learning toolkit" (2009); the network is
`dlib_face_recognition_resnet_model_v1`, CC0, as in the package face-recognition-models.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from talkhead.extras import install_command, missing_modules

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

EXTRA = "identity"
STRIDE = 8
"""Every eighth frame is embedded: identity changes slowly."""
CHIP_PX = 150
"""Side of the aligned picture that the network takes."""
CHIP_PADDING = 0.25
FIVE_POINTS = (263, 362, 33, 133, 2)
"""Mesh points of dlib's five: outer and inner corner of either eye, and the base of the nose."""
_NETWORK = "models/dlib_face_recognition_resnet_model_v1.dat"


def reason_for_absence() -> str | None:
    """Return why identity cannot be scored, or None."""
    if not missing_modules(EXTRA):
        return None
    return f"not computed: install with {install_command(EXTRA)}"


class IdentityScorer:
    """Compares the identity in one video of a clip with the real one, batch by batch."""

    def __init__(self) -> None:
        self._count = 0
        self._distances: list[float] = []

    def add(self, generated: Pixels, points: Floats, real: Pixels, real_points: Floats) -> None:
        """Score a batch.

        Args:
            generated: uint8 (T, H, W, 3).
            points: (T, 478, 3), the faces in it, pixels; nan in frames without one.
            real: the real frames at the same times.
            real_points: the faces in those.
        """
        first = -self._count % STRIDE
        self._count += len(generated)
        for index in range(first, len(generated), STRIDE):
            if not np.isnan([points[index, 0, 0], real_points[index, 0, 0]]).any():
                ours = embedding(generated[index], points[index])
                theirs = embedding(real[index], real_points[index])
                self._distances.append(float(np.linalg.norm(ours - theirs)))

    def finish(self) -> dict[str, float]:
        """Return the mean distance of a clip; nothing if no frame shows a face."""
        if not self._distances:
            return {}
        return {"identity_distance": float(np.mean(self._distances))}


def embedding(picture: Pixels, points: Floats) -> npt.NDArray[np.float64]:
    """Return the embedding of a face, (128,).

    Args:
        picture: uint8 (H, W, 3).
        points: (478, 3), its mesh, pixels.
    """
    dlib = _dlib()
    corners = points[list(FIVE_POINTS), :2].round().astype(int)
    box = dlib.rectangle(*map(int, corners.min(0)), *map(int, corners.max(0)))
    shape = dlib.full_object_detection(box, [dlib.point(*map(int, corner)) for corner in corners])
    chip = dlib.get_face_chip(np.ascontiguousarray(picture), shape, CHIP_PX, CHIP_PADDING)
    return np.array(_network().compute_face_descriptor(chip))


def _dlib() -> Any:
    import dlib

    return dlib


@functools.cache
def _network() -> Any:
    # The package's own module asks setuptools for its path, which newer releases no longer offer.
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ImportError("face_recognition_models is not installed")
    return _dlib().face_recognition_model_v1(str(Path(spec.origin).parent / _NETWORK))
