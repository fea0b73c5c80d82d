import math

import pytest
import torch
from torch import Tensor

from talkhead.landmarks2video.sampling import default_scheduler
from talkhead.training.diffusion import diffusion_loss, draw_timesteps, network_time

SHAPE = (3, 4, 5, 6)


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_networks_get_the_share_of_the_schedule_that_has_passed() -> None:
    times = network_time(torch.tensor([0, 499, 999]), default_scheduler())
    torch.testing.assert_close(times, torch.tensor([0.001, 0.5, 1.0]))


def test_the_loss_by_hand() -> None:
    clean, epsilon = torch.full((2, 1, 1, 2), 3.0), torch.full((2, 1, 1, 2), 4.0)
    # At time 1/2, signal and noise are sqrt(1/2); at time 1, the velocity is minus the clean value.
    timesteps = torch.tensor([499, 999])
    weight = torch.tensor([1.0, 0.5])[None, None, None]
    given = []

    def network(noisy: Tensor, time: Tensor) -> Tensor:
        given.append((noisy, time))
        return torch.zeros_like(noisy)

    losses, estimate = diffusion_loss(
        network, default_scheduler(), clean, timesteps, epsilon, weight
    )
    torch.testing.assert_close(losses, torch.tensor([0.5 * 0.75, 9 * 0.75]), atol=1e-4, rtol=1e-4)
    ((noisy, time),) = given
    expected = torch.tensor([7 * math.sqrt(0.5), 4.0])
    torch.testing.assert_close(noisy[:, 0, 0, 0], expected, atol=1e-4, rtol=1e-4)
    assert time.tolist() == [0.5, 1]
    # Without a velocity, the clean sample is signal * noisy.
    torch.testing.assert_close(estimate[:, 0, 0, 0], torch.tensor([3.5, 0.0]), atol=1e-4, rtol=1e-4)


def test_a_perfect_network_has_no_loss_and_estimates_the_clean_sample() -> None:
    scheduler, clean, epsilon = default_scheduler(), noise(10), noise(11)
    timesteps = torch.tensor([0, 599, 999])

    def oracle(noisy: Tensor, time: Tensor) -> Tensor:
        angle = (time * math.pi / 2)[:, None, None, None]
        return angle.cos() * epsilon - angle.sin() * clean

    losses, estimate = diffusion_loss(oracle, scheduler, clean, timesteps, epsilon, torch.ones(1))
    assert float(losses.max()) < 1e-6
    torch.testing.assert_close(estimate, clean, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_timesteps_are_drawn_with_the_wanted_share_at_the_end(share: float) -> None:
    drawn = [
        draw_timesteps(20_000, share, torch.Generator().manual_seed(0), default_scheduler())
        for _ in range(2)
    ]
    assert torch.equal(*drawn)
    timesteps = drawn[0]
    at_end = timesteps == 999
    assert float(at_end.float().mean()) == pytest.approx(share, abs=0.015)
    if share < 1:
        rest = timesteps[~at_end]
        assert float(rest.float().mean()) == pytest.approx(499, abs=20)
        assert 0 <= int(rest.min()) < 10
        assert 990 < int(rest.max()) < 999
