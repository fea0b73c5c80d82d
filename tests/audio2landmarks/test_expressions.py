import numpy as np
import numpy.typing as npt
import pytest

from talkhead.audio2landmarks.expressions import express
from talkhead.emotions import EMOTIONS, one_hot
from talkhead.errors import WeightsError
from talkhead.geometry.mesh import LOWER_INNER_LIP, UPPER_INNER_LIP, mouth_width
from talkhead.geometry.pose import fit_head_pose
from tests.meshes import mean_mesh, opened
from tests.tiny import tiny_expressions

Floats = npt.NDArray[np.float32]
TURN = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32)


def talking() -> Floats:
    face = mean_mesh(40, 100, 88)
    return np.stack([opened(face, 8 * abs(np.sin(number))) for number in range(6)])


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_an_expression_is_added_along_the_axes_of_the_face(share: float) -> None:
    probabilities = share * one_hot("happy") + (1 - share) * one_hot("neutral")
    expression = tiny_expressions().shape_of(probabilities)
    for meshes in (talking(), talking() @ TURN):
        pose = fit_head_pose(meshes)
        (moved,) = express(iter([meshes]), expression)
        wider = mouth_width(pose.to_face(moved)) - mouth_width(pose.to_face(meshes))
        assert wider == pytest.approx(np.full(len(meshes), 0.2 * share), abs=1e-3)
        corners = np.abs(expression).max(-1) > 0
        np.testing.assert_allclose(moved[:, ~corners], meshes[:, ~corners], atol=0.1)


def test_windows_are_expressed_one_at_a_time_and_lips_do_not_cross() -> None:
    expression = np.zeros((478, 3), np.float32)
    expression[LOWER_INNER_LIP, 1] = -0.2  # up, through the upper lip
    windows = iter([talking()[:4], talking()[4:]])
    expressed = express(windows, expression)
    assert len(next(expressed)) == 4
    assert len(next(windows)) == 2  # the second one had not been read
    (moved,) = express(iter([talking()]), expression)
    gap = moved[:, LOWER_INNER_LIP, 1] - moved[:, UPPER_INNER_LIP, 1]
    assert gap.min() > -1e-2


def test_emotions_that_were_not_measured_are_masked() -> None:
    table = tiny_expressions()
    mixed = 0.5 * one_hot("contempt") + 0.3 * one_hot("happy") + 0.2 * one_hot("sad")
    expected = 0.6 * one_hot("happy") + 0.4 * one_hot("sad")
    assert table.mask_unknown(mixed) == pytest.approx(expected)
    assert np.array_equal(table.mask_unknown(one_hot("contempt")), one_hot("neutral"))
    assert np.array_equal(table.mask_unknown(one_hot("happy"), "happy"), one_hot("happy"))
    with pytest.raises(WeightsError, match="have no contempt face; the emotions they have: angry"):
        table.mask_unknown(one_hot("contempt"), "contempt")
    table.known.zero_()
    assert np.array_equal(table.mask_unknown(np.full(8, 0.125, np.float32)), one_hot("neutral"))
    with pytest.raises(WeightsError, match="the emotions they have: none"):
        table.mask_unknown(one_hot(EMOTIONS[0]), EMOTIONS[0])
