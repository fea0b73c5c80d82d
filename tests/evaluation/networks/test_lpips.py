from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from talkhead.errors import WeightsError
from talkhead.evaluation.networks.lpips import (
    BACKBONE_FILE,
    CHANNELS,
    HEADS_FILE,
    AlexNetFeatures,
    Heads,
    Lpips,
    load_lpips,
    preprocess,
)
from talkhead.evaluation.networks.published import fill
from tests.evaluation.networks.random_state import publish, random_frames, random_state

CPU = torch.device("cpu")


def head_weights() -> dict[str, Tensor]:
    """Like the published ones, never below zero."""
    return {name: value.abs() for name, value in random_state(Heads).items()}


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips(
        fill(AlexNetFeatures, random_state(AlexNetFeatures), source="backbone"),
        fill(Heads, head_weights(), source="heads"),
    )


def test_names_and_sizes_are_the_published_ones() -> None:
    trunk, heads = random_state(AlexNetFeatures), random_state(Heads)
    assert [name for name in trunk if name.endswith("weight")] == [
        f"features.{layer}.weight" for layer in (0, 3, 6, 8, 10)
    ]
    # 3 11^2 64 + 64 5^2 192 + 192 3^2 384 + 384 3^2 256 + 256 3^2 256, and biases
    assert sum(value.numel() for value in trunk.values()) == 2_469_696
    assert {name: tuple(value.shape) for name, value in heads.items()} == {
        f"lin{index}.model.1.weight": (1, channels, 1, 1)
        for index, channels in enumerate((64, 192, 384, 256, 256))
    }


def test_features_come_in_the_shapes_of_alexnet(lpips: Lpips) -> None:
    found = lpips.backbone(torch.zeros(2, 3, 224, 224))
    sides = (55, 27, 13, 13, 13)
    assert [tuple(x.shape) for x in found] == [
        (2, channels, side, side) for channels, side in zip(CHANNELS, sides, strict=True)
    ]


def test_the_first_features_are_those_that_numpy_finds(lpips: Lpips) -> None:
    frame = random_frames(1, 64)
    scaled = (frame[0] / 127.5 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    wide = np.pad(scaled, ((2, 2), (2, 2), (0, 0)))
    state = lpips.backbone.state_dict()
    weight, bias = state["features.0.weight"].numpy(), state["features.0.bias"].numpy()
    patch = wide[4 * 3 : 4 * 3 + 11, 4 * 5 : 4 * 5 + 11]  # row 3, column 5
    by_hand = np.maximum(np.einsum("oiyx,yxi->o", weight, patch) + bias, 0)
    picture = preprocess(frame, CPU)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    found = lpips.backbone((picture - shift) / scale)[0][0, :, 3, 5]
    assert found.numpy() == pytest.approx(by_hand, rel=1e-4, abs=1e-4)


def test_a_distance_is_the_one_that_numpy_finds(lpips: Lpips) -> None:
    rng = np.random.default_rng(1)
    made, real = (
        [rng.random((2, channels, 3, 4)).astype(np.float32) for channels in CHANNELS]
        for _ in range(2)
    )
    weights = lpips.heads.state_dict()
    by_hand = np.zeros(2)
    for index, (a, b) in enumerate(zip(made, real, strict=True)):
        weight = weights[f"lin{index}.model.1.weight"].numpy()[0]
        a, b = (x / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True)) for x in (a, b))
        by_hand += (weight * (a - b) ** 2).sum(1).mean((1, 2))
    found = lpips.heads([torch.from_numpy(x) for x in made], [torch.from_numpy(x) for x in real])
    assert found.numpy() == pytest.approx(by_hand, rel=1e-5)


def test_channels_that_swap_count_with_both_weights(lpips: Lpips) -> None:
    made = [torch.zeros(1, channels, 2, 2) for channels in CHANNELS]
    real = [torch.zeros(1, channels, 2, 2) for channels in CHANNELS]
    for a, b in zip(made, real, strict=True):
        a[:, 0], b[:, 1] = 5, 0.1  # length does not count, only direction
    weights = lpips.heads.state_dict().values()
    by_hand = sum(float(weight[0, 0] + weight[0, 1]) for weight in weights)
    assert float(lpips.heads(made, real)) == pytest.approx(by_hand)


def test_equal_frames_have_distance_zero_and_others_the_same_both_ways(lpips: Lpips) -> None:
    made, real = random_frames(3, 64, 1), random_frames(3, 64, 2)
    assert (lpips.distances(made, made) == 0).all()
    assert (lpips.distances(made, real) > 0).all()
    assert lpips.distances(made, real) == pytest.approx(lpips.distances(real, made))


def test_order_and_batch_size_change_nothing(lpips: Lpips) -> None:
    made, real = random_frames(5, 64, 1), random_frames(5, 64, 2)
    whole = lpips.distances(made, real)
    assert whole.shape == (5,)
    assert lpips.distances(made, real, batch_frames=2) == pytest.approx(whole, rel=1e-5)
    order = [3, 0, 4, 1, 2]
    assert lpips.distances(made[order], real[order]) == pytest.approx(whole[order], rel=1e-5)
    assert lpips.distances(made[:0], real[:0]).shape == (0,)


def test_frames_of_other_kinds_are_refused(lpips: Lpips) -> None:
    frames = random_frames(2, 64)
    with pytest.raises(ValueError, match="generated frames are"):
        lpips.distances(frames, frames[:1])
    with pytest.raises(ValueError, match="uint8"):
        lpips.distances(frames / 255, frames / 255)  # type: ignore[arg-type]


def test_black_and_white_are_the_ends_of_the_range() -> None:
    frames = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    found = preprocess(frames, CPU)
    assert found.shape == (2, 3, 64, 64)
    assert (found[0] == -1).all()
    assert (found[1] == 1).all()


def test_published_files_load_and_others_do_not(tmp_path: Path, lpips: Lpips) -> None:
    trunk = random_state(AlexNetFeatures) | {
        f"classifier.{layer}.{kind}": torch.zeros(2)
        for layer in (1, 4, 6)
        for kind in ("weight", "bias")
    }
    publish(tmp_path / "a" / BACKBONE_FILE, trunk)
    publish(tmp_path / "b" / HEADS_FILE, head_weights(), is_old=True)
    loaded = load_lpips(tmp_path / "a", tmp_path / "b")
    frames = random_frames(2, 64)
    assert loaded.distances(frames[1:], frames[:1]) == pytest.approx(
        lpips.distances(frames[1:], frames[:1])
    )
    publish(tmp_path / "a" / BACKBONE_FILE, trunk | {"classifier.8.bias": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"1 tensor unknown \(classifier.8.bias\)"):
        load_lpips(tmp_path / "a", tmp_path / "b")
    publish(tmp_path / "a" / BACKBONE_FILE, trunk)
    publish(tmp_path / "b" / HEADS_FILE, dict(list(head_weights().items())[:-1]))
    with pytest.raises(WeightsError, match=r"1 tensor missing \(lin4"):
        load_lpips(tmp_path / "a", tmp_path / "b")
