import pytest
import torch
from torch import Tensor

from talkhead.landmarks2video.sharpening import (
    MAX_SHARPENING,
    fine_detail,
    matching_sharpening,
    sharpen,
)


def noise(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn((2, 3, 40, 48), generator=generator)


def softened(images: Tensor) -> Tensor:
    return images - fine_detail(images)


def energy(images: Tensor) -> float:
    return float(fine_detail(images).square().mean())


def test_the_detail_of_a_point_by_hand() -> None:
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16
    detail = fine_detail(point)[0, 0]
    assert detail[2, 2] == 12  # 16 - 4
    assert detail[1, 1] == detail[3, 3] == -1
    assert detail[1, 2] == detail[2, 3] == -2
    assert detail[0].abs().sum() == 0


def test_flat_pictures_and_even_slopes_have_none() -> None:
    slope = torch.linspace(-1, 1, 12).expand(1, 1, 9, 12)
    assert fine_detail(slope)[..., 1:-1].abs().max() < 1e-6
    assert torch.equal(sharpen(torch.full((1, 3, 8, 8), 0.25), 2), torch.full((1, 3, 8, 8), 0.25))


def test_the_amount_found_gives_the_models_detail() -> None:
    model = noise()[:1]
    soft = 0.5 * model + 0.5 * softened(model)
    amount = matching_sharpening(soft, model)
    assert 0 < amount < MAX_SHARPENING
    assert energy(sharpen(soft, amount)) == pytest.approx(energy(model), rel=1e-3)


def test_what_is_sharp_enough_stays_as_it_is() -> None:
    images = noise()
    assert matching_sharpening(images, softened(images)[:1]) == 0
    assert matching_sharpening(images, images) == pytest.approx(0, abs=1e-5)
    assert matching_sharpening(torch.zeros(1, 3, 8, 8), noise()[:1, :, :8, :8]) == 0


def test_there_is_a_limit() -> None:
    images = softened(softened(softened(noise())))
    assert matching_sharpening(images, noise()[:1]) == MAX_SHARPENING
