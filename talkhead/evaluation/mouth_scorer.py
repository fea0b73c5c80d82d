"""Score the insides of opened mouths in one video of a clip, and collect patches of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from talkhead.evaluation.image_metrics import psnr_of
from talkhead.evaluation.mouth_patches import (
    MouthPatches,
    changes,
    cut_mouths,
    inside_errors,
    join_patches,
    laplacian_variances,
    spread_evenly,
)
from talkhead.evaluation.perceptual import REAL_FEATURES
from talkhead.evaluation.two_sample import MAX_PATCHES, PATCHES

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class MouthScorer:
    """Scores one video of a clip, batch by batch.

    Args:
        shares_landmarks: whether the frames have the real clip's landmarks, so that patches of the
            same frame show the same place.
        with_real: keep the patches of the real frames as well.
    """

    def __init__(self, *, shares_landmarks: bool, with_real: bool = False) -> None:
        self._shares_landmarks, self._with_real = shares_landmarks, with_real
        self._generated: list[MouthPatches] = []
        self._real: list[MouthPatches] = []
        self._count = 0

    def add(self, generated: Pixels, points: Floats, real: MouthPatches) -> None:
        """Score a batch.

        Args:
            generated: uint8 (T, S, S, 3).
            points: (T, 478, 3), the faces in it, crop pixels; nan in frames without one.
            real: the patches of the real clip's batch.
        """
        self._generated.append(cut_mouths(generated, points, self._count))
        self._count += len(generated)
        self._real.append(real.before(self._count))

    def finish(self) -> tuple[dict[str, float], dict[str, Pixels]]:
        """Return the clip's values, and patches for the two-sample test."""
        generated, real = join_patches(self._generated), join_patches(self._real)
        values: dict[str, float] = {}
        arrays: dict[str, Pixels] = {}
        if self._with_real and len(real):
            arrays[f"{REAL_FEATURES}{PATCHES}"] = spread_evenly(real.without_skin(), MAX_PATCHES)
        if not len(generated):
            return values, arrays
        arrays[PATCHES] = spread_evenly(generated.without_skin(), MAX_PATCHES)
        for name, measure in (
            ("inside_sharpness", laplacian_variances),
            ("inside_flicker", changes),
        ):
            ours, theirs = measure(generated), measure(real)
            if len(ours) and theirs.sum() > 0:
                values[name] = float(ours.mean() / theirs.mean())
        if self._shares_landmarks:
            errors = inside_errors(generated, real)
            if len(errors):
                values["inside_psnr"] = float(psnr_of(errors).mean())
        return values, arrays
