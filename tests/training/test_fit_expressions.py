import numpy as np
import pytest

from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import (
    CHIN,
    LEFT_MOUTH_CORNER,
    LOWER_INNER_LIP,
    MEAN_FACE,
    NOSE_TIP,
    RIGHT_MOUTH_CORNER,
    STABLE_POINTS,
    UPPER_INNER_LIP,
)
from talkhead.geometry.motion_basis import speech_region
from talkhead.training.fit_expressions import fit_expressions, without_opening
from tests.prepared import acted_clip


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


def test_an_expression_does_not_open_the_lips() -> None:
    # A jaw that drops by 0.1, and a smile whose corners rise and whose lips move apart.
    y = MEAN_FACE[:, 1]
    drop = np.clip((y - y[UPPER_INNER_LIP].max()) / 0.1, 0, 1) * speech_region()
    opened = np.stack([0 * y, 0.1 * drop, 0 * y], 1)
    opened[[LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER], 1] = -0.05
    closed = without_opening(opened)
    gap = closed[LOWER_INNER_LIP, 1] - closed[UPPER_INNER_LIP, 1]
    assert np.abs(gap).max() < 0.01
    assert 0 < closed[CHIN, 1] < opened[CHIN, 1]
    kept = [LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER, NOSE_TIP, *STABLE_POINTS]
    assert closed[kept] == pytest.approx(opened[kept], abs=1e-6)
    assert without_opening(closed) == pytest.approx(closed, abs=1e-3)
