import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from talkhead.audio2landmarks.kan import KanLinear


@pytest.fixture
def layer() -> KanLinear:
    torch.manual_seed(0)
    return KanLinear(3, 2).double()


def test_bases_sum_to_one_inside_the_grid_and_vanish_outside(layer: KanLinear) -> None:
    inside = torch.linspace(-1, 1 - 1e-9, 401, dtype=torch.float64)
    torch.testing.assert_close(layer.bases(inside).sum(-1), torch.ones_like(inside))
    outside = torch.tensor([-40.0, -2.21, 2.21, 40.0], dtype=torch.float64)
    assert not layer.bases(outside).any()


@pytest.mark.parametrize(("grid_size", "order"), [(5, 3), (4, 1), (7, 2)])
def test_bases_are_those_of_scipy(grid_size: int, order: int) -> None:
    layer = KanLinear(1, 1, grid_size=grid_size, order=order, low=-2, high=3).double()
    step = 5 / grid_size
    knots = -2 + step * np.arange(-order, grid_size + order + 1)
    x = np.linspace(-2, 2.999, 200)
    made = layer.bases(torch.from_numpy(x)).numpy()
    for index in range(grid_size + order):
        weights = np.zeros(grid_size + order)
        weights[index] = 1
        expected = BSpline(knots, weights, order)(x)
        np.testing.assert_allclose(made[:, index], expected, atol=1e-9)


def test_an_edge_is_worked_out_by_hand(layer: KanLinear) -> None:
    x = torch.tensor([[0.3, -0.5, 0.9]], dtype=torch.float64)
    bases = layer.bases(x)[0]
    for out in range(2):
        expected = sum(
            layer.base[out, i] * x[0, i] * torch.sigmoid(x[0, i])
            + layer.scale[out, i] * (layer.coefficients[out, i] @ bases[i])
            for i in range(3)
        )
        torch.testing.assert_close(layer(x)[0, out], expected)


def test_gradients_are_right(layer: KanLinear) -> None:
    x = torch.tensor([[0.31, -0.52, 0.93], [1.7, -3.0, 0.11]], dtype=torch.float64)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


def test_the_published_sizes_have_ten_parameters_an_edge() -> None:
    layers = [KanLinear(68, 512), KanLinear(512, 68)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == 696_320
