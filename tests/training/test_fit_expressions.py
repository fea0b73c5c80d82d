import dataclasses

import numpy as np
import pytest

from talkhead.data.clips import Clip, ClipInfo
from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, MEAN_FACE, RIGHT_MOUTH_CORNER
from talkhead.geometry.pose import HeadPose, rotation_from_angles
from talkhead.training.fit_expressions import fit_expressions
from tests.prepared import describe_clip, make_clip


def acted_clip(person: str, emotion: str, smile: float, seed: int) -> tuple[ClipInfo, Clip]:
    """A face that turns, whose mouth corners are `smile` eye distances further apart."""
    face = MEAN_FACE.copy()
    face[RIGHT_MOUTH_CORNER, 0] -= smile / 2
    face[LEFT_MOUTH_CORNER, 0] += smile / 2
    count = 12
    angles = np.random.default_rng(seed).uniform(-0.1, 0.1, (count, 3)).astype(np.float32)
    pose = HeadPose(
        np.full(count, 80, np.float32),
        rotation_from_angles(angles),
        np.full((count, 3), [128, 118, 0], np.float32),
    )
    landmarks = pose.to_picture(np.repeat(face[None], count, 0))
    clip = dataclasses.replace(make_clip(count, seed), landmarks=landmarks)
    row = describe_clip(f"clip-{seed}", clip)
    return dataclasses.replace(row, person=person, emotion=emotion), clip


def test_an_expression_is_the_mean_difference_from_the_same_persons_neutral_face() -> None:
    acted = [
        acted_clip("a", "neutral", 0.02, 0),
        acted_clip("a", "happy", 0.12, 1),
        acted_clip("b", "neutral", 0.00, 2),
        acted_clip("b", "happy", 0.20, 3),
        acted_clip("c", "sad", 0.50, 4),  # has no neutral face to compare with
        acted_clip("c", "", 0.50, 5),
    ]
    rows, clips = zip(*acted, strict=True)
    found = fit_expressions(rows, clips)
    happy = found.offsets[EMOTIONS.index("happy")].numpy()
    wider = happy[LEFT_MOUTH_CORNER, 0] - happy[RIGHT_MOUTH_CORNER, 0]
    assert wider == pytest.approx(0.15, abs=0.01)  # 0.1 and 0.2
    assert np.abs(np.delete(happy, [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER], 0)).max() < 0.01
    for name in set(EMOTIONS) - {"happy"}:
        assert not found.offsets[EMOTIONS.index(name)].any()
