"""Fit what each emotion adds to a face: the expressions of the clips' people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from talkhead.audio2landmarks.expressions import Expressions
from talkhead.data.clips import Clip, ClipInfo
from talkhead.emotions import EMOTIONS, NEUTRAL
from talkhead.geometry.mesh import (
    LEFT_MOUTH_CORNER,
    LOWER_INNER_LIP,
    MEAN_FACE,
    NOSE_TIP,
    RIGHT_MOUTH_CORNER,
    UPPER_INNER_LIP,
)
from talkhead.geometry.motion_basis import speech_region
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

    Emotional speech is louder and opens the lips wider, but that is said by the speech: added to
    it, the lips could never close.

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
            name: without_opening(np.mean(faces, 0) - np.mean(own[NEUTRAL], 0))
            for name, faces in own.items()
        }
        for person, own in shapes.items()
        if NEUTRAL in own
    }


def without_opening(expression: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return an expression, (478, 3), with both lips moved so that closed lips stay closed.

    The chin follows the lower lip; from the upper lip to the nose the motion fades out.
    """
    x, y = MEAN_FACE[:, 0], MEAN_FACE[:, 1]
    places = (x[LOWER_INNER_LIP] + x[UPPER_INNER_LIP]) / 2
    gaps = expression[LOWER_INNER_LIP, 1] - expression[UPPER_INNER_LIP, 1]
    gap = np.interp(x, [x[RIGHT_MOUTH_CORNER], *places, x[LEFT_MOUTH_CORNER]], [0, *gaps, 0])
    upper, lower = (np.interp(x, x[lip], y[lip]) for lip in (UPPER_INNER_LIP, LOWER_INNER_LIP))
    below_nose = np.clip((y - y[NOSE_TIP]) / (upper - y[NOSE_TIP]), 0, 1)
    below_lips = np.clip((y - upper) / (lower - upper), 0, 1)
    closed = np.array(expression, np.float32)
    closed[:, 1] += gap * (below_nose / 2 - below_lips) * speech_region()
    return closed
