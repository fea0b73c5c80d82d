from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from talkhead.errors import WeightsError
from talkhead.evaluation.networks.inception import (
    FILE,
    BlockE,
    FidInception,
    average_inside,
    load_inception,
    preprocess,
)
from talkhead.evaluation.networks.published import fill
from tests.evaluation.networks.random_state import (
    publish,
    random_frames,
    random_state,
    resized,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(FidInception)


@pytest.fixture(scope="module")
def inception(state: dict[str, Tensor]) -> FidInception:
    return fill(FidInception, state, source="inception")


def test_names_and_sizes_are_the_published_ones(inception: FidInception) -> None:
    names = set(inception.state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var"} <= names
    # torchvision prints 27,161,264 for all; less 3,326,696 of the side branch that training has,
    # and 2,049,000 of the last layer
    assert sum(x.numel() for x in inception.parameters()) == 27_161_264 - 3_326_696 - 2_049_000


def test_averages_do_not_count_the_padding() -> None:
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    found = average_inside(x)[0, 0]
    assert found[0, 0] == pytest.approx((1 + 2 + 4 + 5) / 4)
    assert found[0, 1] == pytest.approx((1 + 2 + 3 + 4 + 5 + 6) / 6)
    assert found[1, 1] == pytest.approx(5)
    assert (average_inside(torch.ones(1, 2, 4, 4)) == 1).all()


@pytest.mark.parametrize("is_last", [False, True])
def test_only_the_last_block_pools_by_the_maximum(is_last: bool) -> None:
    def build() -> BlockE:
        return BlockE(4, is_last=is_last)

    block = fill(build, random_state(build), source="block")
    x = torch.from_numpy(np.random.default_rng(0).random((1, 4, 3, 3), np.float32))
    corner = x[0, :, :2, :2].numpy().reshape(4, 4)
    pooled = corner.max(1) if is_last else corner.mean(1)
    unit = block.branch_pool.state_dict()
    convolved = unit["conv.weight"].numpy()[:, :, 0, 0] @ pooled - unit["bn.running_mean"].numpy()
    scaled = convolved / np.sqrt(unit["bn.running_var"].numpy() + 0.001)
    by_hand = np.maximum(scaled * unit["bn.weight"].numpy() + unit["bn.bias"].numpy(), 0)
    assert block(x)[0, -192:, 0, 0].numpy() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("side", [96, 256, 450])
def test_pictures_are_resized_without_smoothing(side: int) -> None:
    frames = random_frames(2, side)
    found = preprocess(frames, CPU)
    assert found.shape == (2, 3, 299, 299)
    by_hand = resized(frames[1], 299) / 255 * 2 - 1
    assert np.abs(found[1].permute(1, 2, 0).numpy() - by_hand).max() < 2e-4
    assert float(found.min()) >= -1
    assert float(found.max()) <= 1


def test_order_and_batch_size_change_nothing(inception: FidInception) -> None:
    frames = random_frames(4, 64)
    whole = inception.features(frames)
    assert whole.shape == (4, 2048)
    assert whole.dtype == np.float32
    assert (whole >= 0).all()
    assert whole.std() > 0.01
    largest = float(whole.max())
    assert inception.features(frames, batch_frames=3) == pytest.approx(whole, abs=1e-5 * largest)
    order = [2, 0, 3, 1]
    assert inception.features(frames[order]) == pytest.approx(whole[order], abs=1e-5 * largest)
    assert inception.features(frames[:0]).shape == (0, 2048)


def test_the_published_file_loads_and_others_do_not(
    tmp_path: Path, state: dict[str, Tensor], inception: FidInception
) -> None:
    last = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    old = {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}
    publish(tmp_path / FILE, old | last)
    frames = random_frames(1, 64)
    assert load_inception(tmp_path).features(frames) == pytest.approx(inception.features(frames))
    publish(tmp_path / FILE, state | last | {"AuxLogits.fc.bias": torch.zeros(1000)})
    with pytest.raises(WeightsError, match=r"1 tensor unknown \(AuxLogits.fc.bias\)"):
        load_inception(tmp_path)
    del old["Mixed_6c.branch_pool.bn.weight"]
    publish(tmp_path / FILE, old | {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 5, 5)})
    with pytest.raises(WeightsError, match=r"1 tensor missing \(Mixed_6c.*1 tensor of another sh"):
        load_inception(tmp_path)
