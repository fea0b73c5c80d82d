from typing import Any

import pytest
import torch
from torch import Tensor

from talkhead.landmarks2video.denoiser import Attention, Block, Denoiser
from tests.tiny import TINY_DENOISER

Conditions = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs(
    batch: int = 2, height: int = 4, width: int = 6, *, channels: int = 8, num_maps: int = 9
) -> Conditions:
    """Noisy residual, time, warped latents, maps."""
    latent = (batch, channels, height, width)
    maps = torch.rand(batch, num_maps, 4 * height, 4 * width)
    return torch.randn(latent), torch.rand(batch) * 0.8 + 0.1, torch.randn(latent), maps


@pytest.fixture(scope="module")
def trained() -> Denoiser:
    """A denoiser after a few steps towards an arbitrary target."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Denoiser(**TINY_DENOISER)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        noisy, time, warped, maps = inputs(batch=4)
        target = torch.randn_like(noisy)
        for _ in range(12):
            optimiser.zero_grad()
            loss = (model(noisy, time, warped, maps) - target).square().mean()
            loss.backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("config", [TINY_DENOISER, {"widths": (32, 48, 80)}])
def test_it_starts_at_zero_in_the_shape_of_the_latents(config: dict[str, Any]) -> None:
    model = Denoiser(**config)
    noisy, time, warped, maps = inputs(height=8, width=4, channels=model.config.latent_channels)
    out = model(noisy, time, warped, maps)
    assert out.shape == noisy.shape
    assert not out.any()


def test_the_region_of_a_crop_fits_the_shipped_levels() -> None:
    widths = Denoiser.sketch({}).config.widths
    for side in (160, 192):  # of the lower face, in pixels: 8 px a latent, halved at every level
        assert side % (8 * 2 ** (len(widths) - 1)) == 0


def test_each_of_a_batch_is_denoised_alone(trained: Denoiser) -> None:
    noisy, time, warped, maps = inputs(batch=3)
    together = trained(noisy, time, warped, maps)
    for index in range(3):
        one = slice(index, index + 1)
        alone = trained(noisy[one], time[one], warped[one], maps[one])
        torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=1e-4)


def test_every_input_matters(trained: Denoiser) -> None:
    given = list(inputs())
    before = trained(*given)
    for index, name in enumerate(("noise", "time", "warped identity", "maps")):
        changed = list(given)
        changed[index] = given[index].roll(1, 0) if index == 1 else torch.randn_like(given[index])
        assert (trained(*changed) - before).abs().mean() > 1e-3, name


def test_every_map_matters(trained: Denoiser) -> None:
    noisy, time, warped, maps = inputs()
    before = trained(noisy, time, warped, maps)
    for index in range(maps.shape[1]):
        changed = maps.clone()
        changed[:, index] = torch.rand_like(changed[:, index])
        assert (trained(noisy, time, warped, changed) - before).abs().max() > 1e-4


def test_without_maps_there_is_nothing_of_them_in_the_network() -> None:
    model = Denoiser(**(TINY_DENOISER | {"map_channels": 0}))
    torch.nn.init.normal_(model.conv_out.weight, std=0.05)
    noisy, time, warped, maps = inputs()
    out = model(noisy, time, warped, maps)
    torch.testing.assert_close(model(noisy, time, warped, torch.rand_like(maps)), out)
    assert model.conv_in.in_channels == 2 * model.config.latent_channels


def test_pure_noise_is_not_looked_at(trained: Denoiser) -> None:
    noisy, _, warped, maps = inputs()
    end = torch.ones(2)
    one = trained(noisy, end, warped, maps)
    torch.testing.assert_close(trained(torch.randn_like(noisy), end, warped, maps), one)


def test_every_weight_is_trained() -> None:
    model = Denoiser(**TINY_DENOISER)
    for parameter in model.parameters():  # zeros would block the gradients of earlier layers
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    out = model(*inputs())
    out.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_one_batch_is_learnt_by_heart() -> None:
    model = Denoiser(**TINY_DENOISER)
    noisy, time, warped, maps = inputs(batch=2)
    target = torch.randn_like(noisy) * 0.5
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (model(noisy, time, warped, maps) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * float(target.square().mean())


def test_blocks_and_attention_start_as_the_identity() -> None:
    x, time = torch.randn(2, 16, 4, 4), torch.randn(2, 8)
    torch.testing.assert_close(Block(16, 8)(x, time), x)
    torch.testing.assert_close(Attention(16, 2)(x), x)


def test_attention_sees_all_positions_in_any_order() -> None:
    layer = Attention(16, 2)
    torch.nn.init.normal_(layer.out.weight, std=0.3)
    x = torch.randn(1, 16, 4, 4)
    order = torch.randperm(16)
    shuffled = x.reshape(1, 16, 16)[..., order].reshape(x.shape)
    expected = layer(x).reshape(1, 16, 16)[..., order].reshape(x.shape)
    torch.testing.assert_close(layer(shuffled), expected, atol=1e-5, rtol=1e-4)
    nudged = x.clone()
    nudged[..., 0, 0] += 1
    assert ((layer(nudged) - layer(x))[..., 3, 3].abs() > 1e-5).any()
