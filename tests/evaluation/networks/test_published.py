from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from talkhead.errors import WeightsError
from talkhead.evaluation.networks.published import fill, read_tensors
from tests.evaluation.networks.random_state import publish, random_state


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.bn = nn.BatchNorm2d(3)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return random_state(Tiny)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_published_file_fills_a_network(
    tmp_path: Path, state: dict[str, Tensor], is_old: bool
) -> None:
    path = publish(tmp_path / "tiny.pth", state, is_old=is_old)
    net = fill(Tiny, read_tensors(path), source=str(path))
    assert {name for name, _ in net.named_parameters()} <= state.keys()
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, state[name])
    assert not net.training
    assert not any(value.requires_grad for value in net.parameters())


def test_nothing_is_drawn_at_random(state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    fill(Tiny, state, source="tiny.pth")
    assert torch.equal(torch.get_rng_state(), before)


def test_counters_of_training_steps_may_lack_and_half_floats_become_floats(
    state: dict[str, Tensor],
) -> None:
    del state["bn.num_batches_tracked"]
    net = fill(Tiny, {name: value.half() for name, value in state.items()}, source="tiny.pth")
    assert {value.dtype for value in net.parameters()} == {torch.float32}


def test_a_missing_tensor_is_refused(state: dict[str, Tensor]) -> None:
    del state["conv.bias"]
    with pytest.raises(
        WeightsError, match=r"tiny.pth does not fit Tiny: 1 tensor missing \(conv.b"
    ):
        fill(Tiny, state, source="tiny.pth")


def test_an_unknown_tensor_is_refused_unless_it_is_known_to_be_there(
    state: dict[str, Tensor],
) -> None:
    state["fc.weight"] = torch.zeros(2, 2)
    fill(Tiny, state, source="tiny.pth", unused={"fc.weight", "fc.bias"})
    with pytest.raises(WeightsError, match=r"1 tensor unknown \(fc.weight\)"):
        fill(Tiny, state, source="tiny.pth", unused={"fc.bias"})


def test_a_tensor_of_another_shape_or_kind_is_refused(state: dict[str, Tensor]) -> None:
    odd = state | {"conv.weight": torch.zeros(3, 2, 3, 1), "conv.bias": torch.zeros(3).int()}
    with pytest.raises(WeightsError) as refused:
        fill(Tiny, odd, source="tiny.pth")
    assert str(refused.value) == (
        "tiny.pth does not fit Tiny:"
        " 1 tensor of another shape (conv.weight (3, 2, 3, 1) instead of (3, 2, 3, 3));"
        " 1 tensor not floating-point (conv.bias)"
    )


def test_objects_in_a_file_are_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pth"
    torch.save({"conv.bias": Fraction(1, 2)}, path)
    with pytest.raises(WeightsError, match="is not a tensor file") as refused:
        read_tensors(path)
    assert "\n" not in str(refused.value)


def test_what_is_no_table_of_tensors_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "tiny.pth"
    for odd in ([torch.zeros(2)], {"epoch": 3}, {3: torch.zeros(2)}):
        torch.save(odd, path)
        with pytest.raises(WeightsError, match="holds something other than named tensors"):
            read_tensors(path)
    publish(path, state)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is not a tensor file"):
        read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="is not a tensor file"):
        read_tensors(path)
    with pytest.raises(WeightsError, match="is missing"):
        read_tensors(tmp_path / "other.pth")
