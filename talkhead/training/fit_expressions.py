"""Fit what each emotion adds to a face: the expressions of the clips' people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from talkhead.data.clips import Clip, ClipInfo
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.pose import fit_head_pose

Floats = npt.NDArray[np.float32]


def fit_expressions(clips: Sequence[tuple[ClipInfo, Clip]]) -> Floats:
    """Return what each emotion adds to the shape of faces, (8, 478, 3) in eye distances.

    For each person, the mean face of an emotion's clips minus that of the neutral ones, averaged
    over people. Zeros for emotions for which no person has both.
    """
    shapes: dict[str, dict[str, list[Floats]]] = {}
    for row, clip in clips:
        if row.emotion:
            mean = fit_head_pose(clip.landmarks).to_face(clip.landmarks).mean(0)
            shapes.setdefault(row.person, {}).setdefault(row.emotion, []).append(mean)
    found = np.zeros((len(EMOTIONS), NUM_POINTS, 3), np.float32)
    for number, name in enumerate(EMOTIONS):
        of_people = [
            np.mean(own[name], 0) - np.mean(own[NEUTRAL], 0)
            for own in shapes.values()
            if name in own and NEUTRAL in own
        ]
        if of_people:
            found[number] = np.mean(of_people, 0)
    return found
