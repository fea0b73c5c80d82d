import numpy as np
import pytest

from talkhead.emotions import EMOTIONS
from talkhead.geometry.mesh import LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER
from talkhead.training.fit_expressions import fit_expressions
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
