from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from talkhead.landmarks2video.autoencoder import PATCH_PX, Autoencoder, ResidualBlock
from tests.tiny import TINY_AUTOENCODER

PATCH = 3 * PATCH_PX**2
NUM_CHANNELS = TINY_AUTOENCODER["latent_channels"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def smooth_images(count: int, height: int = 32, width: int = 48) -> Tensor:
    """Soft colour blobs in [-1, 1], (count, 3, height, width)."""
    coarse = torch.rand(count, 3, 4, 5) * 2 - 1
    return functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(-1, 1)


def principal(images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and principal components of image patches, computed with numpy."""
    flat = functional.pixel_unshuffle(images, PATCH_PX).permute(0, 2, 3, 1).reshape(-1, PATCH)
    patches = flat.double().numpy()
    mean = patches.mean(0)
    _, _, rows = np.linalg.svd(patches - mean, full_matrices=False)
    return torch.from_numpy(mean).float(), torch.from_numpy(rows[:count].copy()).float()


def with_linear_path(images: Tensor, scale: float = 2.0) -> Autoencoder:
    model = Autoencoder(**TINY_AUTOENCODER)
    model.set_linear_path(*principal(images, NUM_CHANNELS), scale)
    return model


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_a_linear_path_of_full_rank_loses_nothing(scale: float) -> None:
    model = Autoencoder(**(TINY_AUTOENCODER | {"latent_channels": PATCH}))
    basis, _ = torch.linalg.qr(torch.randn(PATCH, PATCH))
    model.set_linear_path(torch.randn(PATCH), basis.T, scale)
    images = torch.rand(2, 3, 24, 40) * 2 - 1
    torch.testing.assert_close(model(images), images, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.lost_detail(images), torch.zeros_like(images), atol=1e-4, rtol=0
    )


def test_the_linear_path_projects_on_the_principal_components() -> None:
    images = smooth_images(4)
    mean, components = principal(images, NUM_CHANNELS)
    model = with_linear_path(images, scale=3.0)
    patches = functional.pixel_unshuffle(images, PATCH_PX)
    centred = patches - mean[:, None, None]
    expected = torch.einsum("kc,bchw->bkhw", components, centred) / 3
    torch.testing.assert_close(model.encode(images), expected, atol=1e-4, rtol=1e-4)


def test_no_linear_autoencoder_of_that_size_is_better() -> None:
    images = smooth_images(6)
    mean, components = principal(images, NUM_CHANNELS)
    best = functional.mse_loss(with_linear_path(images)(images), images)
    for _ in range(3):
        model = Autoencoder(**TINY_AUTOENCODER)
        nudged, _ = torch.linalg.qr((components + 0.05 * torch.randn_like(components)).T)
        model.set_linear_path(mean, nudged.T, 2.0)
        assert functional.mse_loss(model(images), images) > best


def test_what_the_linear_path_loses_can_be_added_back() -> None:
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    model = with_linear_path(smooth_images(4))
    assert (model(images) - images).abs().max() > 0.1
    restored = model(images) + model.lost_detail(images)
    torch.testing.assert_close(restored, images, atol=1e-4, rtol=0)


def test_one_batch_is_learnt_by_heart() -> None:
    images = smooth_images(2, 16, 16)
    model = with_linear_path(smooth_images(4))
    before = float(functional.mse_loss(model(images), images).detach())
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        loss = functional.mse_loss(model(images), images)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(loss.detach()) < 0.05 * before


@pytest.mark.parametrize("config", [TINY_AUTOENCODER, {}], ids=["tiny", "shipped"])
def test_sides_become_an_eighth_and_come_back(config: dict[str, Any]) -> None:
    model = Autoencoder(**config)
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    latents = model.encode(images)
    assert latents.shape == (2, model.config.latent_channels, 2, 3)
    assert model.decode(latents).shape == images.shape


def test_each_of_a_batch_is_coded_alone() -> None:
    model = Autoencoder(**TINY_AUTOENCODER)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    together = model(images)
    for index in range(3):
        torch.testing.assert_close(model(images[index : index + 1])[0], together[index])


def test_the_linear_path_keeps_its_precision_under_autocast() -> None:
    images = smooth_images(2)
    model = with_linear_path(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(images)
        lost = model.lost_detail(images)
    torch.testing.assert_close(rounded.float(), model(images), atol=1e-5, rtol=0)
    assert lost.dtype == torch.float32


def test_a_residual_block_starts_as_the_identity() -> None:
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(ResidualBlock(8)(x), x)
