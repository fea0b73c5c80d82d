"""3 x 3 convolutions by tiles against those of torch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from talkhead.landmarks2video.convolution import Conv3x3


def filled(in_channels: int, out_channels: int) -> tuple[Conv3x3, nn.Conv2d]:
    """Return a convolution and the one of torch with the same tensors."""
    generator = torch.Generator().manual_seed(4)
    ours = Conv3x3(in_channels, out_channels)
    theirs = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    with torch.no_grad():
        for tensor in ours.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / (3 * in_channels**0.5))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("count", "size"),
    [(3, (20, 24)), (3, (10, 12)), (3, (8, 8)), (3, (9, 11)), (3, (13, 8)), (15, (20, 24))],
)
def test_tiles_give_the_convolution_of_torch(count: int, size: tuple[int, int]) -> None:
    ours, theirs = filled(128, 144)
    x = noise(count, 128, *size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        found, wanted = ours(x), theirs(x)
    assert not torch.equal(found, wanted), "tiles were not used"
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_an_impulse_gives_the_flipped_kernel() -> None:
    ours, _ = filled(128, 128)
    x = torch.zeros(1, 128, 12, 12)
    x[0, 7, 5, 6] = 1
    with torch.inference_mode():
        found = (ours(x) - ours(torch.zeros_like(x)))[0, :, 4:7, 5:8]
    torch.testing.assert_close(found, ours.weight[:, 7].flip(1, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "side", "reason"),
    [(64, 20, "few channels"), (128, 7, "a small image")],
)
def test_the_rest_is_left_to_torch(channels: int, side: int, reason: str) -> None:
    ours, theirs = filled(channels, channels)
    x = noise(1, channels, side, side)
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x)), reason


def test_training_and_autocast_are_left_to_torch() -> None:
    ours, theirs = filled(128, 128)
    x = noise(1, 128, 12, 12)
    assert torch.equal(ours(x), theirs(x))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))


def test_new_weights_are_used() -> None:
    ours, _ = filled(128, 128)
    x = noise(1, 128, 12, 12)
    with torch.no_grad():
        before = ours(x)
        ours.weight.mul_(2)
        ours.bias.mul_(2)  # type: ignore[union-attr]
        after = ours(x)
        moved = copy.deepcopy(ours).half().float()
    torch.testing.assert_close(after, 2 * before, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        rounded = moved(x)
        wanted = nn.functional.conv2d(x, ours.weight.half().float(), moved.bias, padding=1)
    torch.testing.assert_close(rounded, wanted, rtol=0, atol=1e-4)
