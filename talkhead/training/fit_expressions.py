"""Fit what each emotion adds to a face: the expressions of the clips' people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.expressions import Expressions
from talkhead.data.clips import Clip, ClipInfo
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.geometry.pose import fit_head_pose

Floats = npt.NDArray[np.float32]


def fit_expressions(rows: Sequence[ClipInfo], clips: Sequence[Clip]) -> Expressions:
    """Measure what each emotion adds to the shape of faces.

    For each person, the mean face of an emotion's clips minus that of the neutral ones, averaged
    over people. Zeros for emotions for which no person has both.

    Returns:
        The expressions, of which none is marked as known.
    """
    shapes: dict[str, dict[str, list[Floats]]] = {}
    for row, clip in zip(rows, clips, strict=True):
        if row.emotion:
            mean = fit_head_pose(clip.landmarks).to_face(clip.landmarks).mean(0)
            shapes.setdefault(row.person, {}).setdefault(row.emotion, []).append(mean)
    found = Expressions()
    for number, name in enumerate(EMOTIONS):
        of_people = [
            np.mean(own[name], 0) - np.mean(own[NEUTRAL], 0)
            for own in shapes.values()
            if name in own and NEUTRAL in own
        ]
        if of_people:
            found.offsets[number] = torch.from_numpy(np.mean(of_people, 0))
    return found
