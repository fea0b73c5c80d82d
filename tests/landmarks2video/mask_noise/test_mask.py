import math

import pytest
import torch

from talkhead.landmarks2video.mask_noise.mask import MaskNoiseConfig, mask_noise, noise_mask


def slow_mask(points: torch.Tensor, size: tuple[int, int], config: MaskNoiseConfig) -> torch.Tensor:
    """Reference implementation of the formula, pixel by pixel."""
    reach = config.kernel_size // 2
    mask = torch.zeros(len(points), *size, dtype=torch.bool)
    for number, own in enumerate(points.tolist()):
        values: dict[tuple[int, int], float] = {}
        for x, y in own:
            for row in range(round(y) - reach, round(y) + reach + 1):
                for column in range(round(x) - reach, round(x) + reach + 1):
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        away = (column - x) ** 2 + (row - y) ** 2
                        value = math.exp(-away / (2 * config.sigma**2)) / (
                            2 * math.pi * config.sigma
                        )
                        values[row, column] = max(value, values.get((row, column), 0.0))
        limit = config.threshold * max(values.values(), default=0.0)
        for (row, column), value in values.items():
            mask[number, row, column] = value > limit
    return mask


@pytest.mark.parametrize(
    "config",
    [
        MaskNoiseConfig(),
        MaskNoiseConfig(kernel_size=5, sigma=3.0, threshold=0.01),
        MaskNoiseConfig(kernel_size=9, sigma=1.0, threshold=0.9),
    ],
)
def test_masks_are_exactly_those_of_the_formula(config: MaskNoiseConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3, 68, 2, generator=generator) * torch.tensor([52.0, 44.0]) - 6
    found = noise_mask(points, (32, 40), config)
    assert torch.equal(found, slow_mask(points, (32, 40), config))
    assert 0 < float(found.float().mean()) < 1


def test_one_landmark_masks_a_disc_and_one_far_outside_nothing() -> None:
    points = torch.tensor([[[20.0, 10.0]], [[-60.0, 10.0]]])
    mask = noise_mask(points, (32, 40), MaskNoiseConfig())
    rows, columns = mask[0].nonzero(as_tuple=True)
    # exp(-r^2 / 8) > 0.1 within 4.29 pixels
    assert (int(rows.min()), int(rows.max())) == (6, 14)
    assert (int(columns.min()), int(columns.max())) == (16, 24)
    assert int(mask[0].sum()) == sum(
        x * x + y * y < 8 * math.log(10) for x in range(-5, 6) for y in range(-5, 6)
    )
    assert not mask[1].any()


def test_masked_pixels_are_replaced_and_all_others_stay() -> None:
    frames = torch.rand(2, 3, 32, 40) * 0.1
    points = torch.tensor([[[20.0, 10.0]], [[5.0, 25.0]]])
    noise = torch.full((3, 32, 40), 0.7)
    mask = noise_mask(points, (32, 40), MaskNoiseConfig())[:, None].expand_as(frames)
    found = mask_noise(frames, points, noise, MaskNoiseConfig())
    assert (found[mask] == noise[0, 0, 0]).all()
    assert torch.equal(found[~mask], frames[~mask])
