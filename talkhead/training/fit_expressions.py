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
    people = expressions_of_people(rows, clips)
    found = Expressions()
    for number, name in enumerate(EMOTIONS):
        of_people = [own[name] for own in people.values() if name in own]
        if of_people:
            found.offsets[number] = torch.from_numpy(np.mean(of_people, 0))
    return found


def expressions_of_people(
    rows: Sequence[ClipInfo], clips: Sequence[Clip]
) -> dict[str, dict[str, Floats]]:
    """Measure what each emotion adds to the face of each person who has neutral clips, too.

    Returns:
        By person and emotion, (478, 3) in eye distances.
    """
    shapes: dict[str, dict[str, list[Floats]]] = {}
    for row, clip in zip(rows, clips, strict=True):
        if row.emotion:
            mean = fit_head_pose(clip.landmarks).to_face(clip.landmarks).mean(0)
            shapes.setdefault(row.person, {}).setdefault(row.emotion, []).append(mean)
    return {
        person: {
            name: np.asarray(np.mean(faces, 0) - np.mean(own[NEUTRAL], 0), np.float32)
            for name, faces in own.items()
        }
        for person, own in shapes.items()
        if NEUTRAL in own
    }
