from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from talkhead.errors import WeightsError
from talkhead.evaluation.networks.i3d import (
    FILE,
    I3d,
    load_i3d,
    max_pool,
    padded,
    preprocess,
)
from talkhead.evaluation.networks.published import fill
from tests.evaluation.networks.random_state import (
    publish,
    random_frames,
    random_state,
    resized,
)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(I3d)


@pytest.fixture(scope="module")
def i3d(state: dict[str, Tensor]) -> I3d:
    return fill(I3d, state, source="i3d")


def test_names_and_sizes_are_the_published_ones(i3d: I3d) -> None:
    sizes = {name: tuple(x.shape) for name, x in i3d.state_dict().items()}
    assert sizes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert sizes["Mixed_4f.b2b.bn.running_mean"] == (128,)
    assert sizes["logits.conv3d.weight"] == (400, 1024, 1, 1, 1)
    assert sizes["logits.conv3d.bias"] == (400,)
    units = sum(name.endswith("conv3d.weight") for name in sizes)
    assert units == 3 + 9 * 6 + 1
    # Two of these, RGB and flow, are the paper's 25 million; the last layer has 1024 x 400 + 400.
    assert sum(x.numel() for x in i3d.parameters()) == 12_287_264 + 410_000


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    [
        (224, 7, 2, 2, 3),
        (15, 3, 2, 1, 1),
        (14, 3, 2, 0, 1),
        (14, 3, 1, 1, 1),
        (4, 2, 2, 0, 0),
        (3, 2, 2, 0, 1),
        (5, 1, 2, 0, 0),
    ],
)
def test_padding_is_that_of_tensorflow(
    length: int, kernel: int, stride: int, before: int, after: int
) -> None:
    x = torch.ones(1, 1, 1, length, 1)
    found = padded(x, (1, kernel, 1), (1, stride, 1))[0, 0, 0, :, 0]
    assert found.tolist() == [0.0] * before + [1.0] * length + [0.0] * after
    steps = -(-length // stride)
    assert (before + length + after - kernel) // stride + 1 == steps


def test_maxima_are_those_of_the_values_there_are() -> None:
    x = torch.arange(24.0).reshape(1, 1, 2, 3, 4)
    assert max_pool(x, (1, 3, 3), (1, 2, 2))[0, 0].tolist() == [
        [[6, 7], [10, 11]],
        [[18, 19], [22, 23]],
    ]


def test_whole_pictures_come_to_224_pixels_without_smoothing() -> None:
    frames = random_frames(1, 256)
    found = preprocess(frames, torch.device("cpu"))
    by_hand = resized(frames[0], 224) / 127.5 - 1
    assert np.abs(found[0].permute(1, 2, 0).numpy() - by_hand).max() < 2e-4


def test_windows_do_not_see_each_other_and_batch_size_changes_nothing(i3d: I3d) -> None:
    frames = random_frames(50, 32)
    whole = i3d.features(frames)
    assert whole.shape == (3, 400)
    assert whole.std() > 0.01
    room = 1e-5 * float(np.abs(whole).max())
    assert i3d.features(frames[16:34], batch_windows=1) == pytest.approx(whole[1:2], abs=room)
    assert i3d.features(frames[:15]).shape == (0, 400)


def test_order_of_windows_changes_nothing_but_their_order_and_that_of_frames_does(
    i3d: I3d,
) -> None:
    frames = random_frames(16, 32)
    forwards, backwards = i3d.features(np.concatenate([frames, frames[::-1]]))
    swapped = i3d.features(np.concatenate([frames[::-1], frames]))
    room = 1e-5 * float(np.abs(forwards).max())
    assert swapped == pytest.approx(np.stack([backwards, forwards]), abs=room)
    assert np.abs(forwards - backwards).max() > 100 * room


def test_the_published_file_loads_and_others_do_not(
    tmp_path: Path, state: dict[str, Tensor], i3d: I3d
) -> None:
    # The published file is older than the counters of training steps.
    old = {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}
    publish(tmp_path / FILE, old, is_old=True)
    frames = random_frames(16, 32)
    assert load_i3d(tmp_path).features(frames) == pytest.approx(i3d.features(frames))
    publish(tmp_path / FILE, old | {"Mixed_6a.b0.conv3d.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"1 tensor unknown \(Mixed_6a"):
        load_i3d(tmp_path)
    old["logits.conv3d.bias"] = torch.zeros(600)
    del old["Mixed_3b.b0.bn.bias"]
    publish(tmp_path / FILE, old)
    with pytest.raises(
        WeightsError, match=r"1 tensor missing \(Mixed_3b.*\(logits.conv3d.bias \(600,\) instead"
    ):
        load_i3d(tmp_path)
