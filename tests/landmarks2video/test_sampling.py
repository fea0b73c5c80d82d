import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from talkhead.landmarks2video.diffusion import (
    diffusion_loss,
    draw_times,
    sample_ddim,
    schedule,
    training_pair,
)

NUM_TIMES = 1000
SHAPE = (3, 4, 5, 6)


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def reference() -> Any:
    """diffusers' scheduler with our schedule; its step k is our time (k + 1) / 1000."""
    times = torch.arange(NUM_TIMES + 1, dtype=torch.float64) / NUM_TIMES
    kept = (times * (math.pi / 2)).cos().square()
    betas = 1 - kept[1:] / kept[:-1]
    scheduler: Any = DDIMScheduler
    return scheduler(
        num_train_timesteps=NUM_TIMES,
        trained_betas=betas.tolist(),
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


def test_signal_and_noise_by_hand() -> None:
    signal, sigma = schedule(torch.tensor([0, 1 / 3, 0.5, 1]))
    assert signal.shape == sigma.shape == (4, 1, 1, 1)
    half = math.sqrt(0.5)
    expected = torch.tensor([1, math.sqrt(0.75), half, 0])
    torch.testing.assert_close(signal.flatten(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(sigma.flatten(), torch.tensor([0, 0.5, half, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(signal**2 + sigma**2, torch.ones(4, 1, 1, 1))


def test_the_schedule_agrees_with_diffusers(reference: Any) -> None:
    steps = torch.tensor([0, 99, 499, 799, 989])
    signal, _ = schedule((steps + 1) / NUM_TIMES)
    expected = reference.alphas_cumprod[steps].sqrt()
    torch.testing.assert_close(signal.flatten(), expected, atol=1e-4, rtol=1e-3)
    assert float(reference.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-12)


def test_training_pairs_agree_with_diffusers(reference: Any) -> None:
    clean, epsilon = noise(0), noise(1)
    steps = torch.tensor([49, 499, 899])
    noisy, velocity = training_pair(clean, (steps + 1) / NUM_TIMES, epsilon)
    torch.testing.assert_close(
        noisy, reference.add_noise(clean, epsilon, steps), atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(
        velocity, reference.get_velocity(clean, epsilon, steps), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("num_steps", [1, 2, 5, 20])
def test_every_step_agrees_with_diffusers(reference: Any, num_steps: int) -> None:
    def network(noisy: Tensor, time: Tensor) -> Tensor:
        return torch.sin(2 * noisy) + time[:, None, None, None] * noisy.roll(1, 1)

    reference.set_timesteps(num_steps)
    expected, sample = [], noise(2)
    for step in reference.timesteps:
        time = ((step + 1) / NUM_TIMES).expand(len(sample))
        out = reference.step(network(sample, time), step, sample, eta=0.0)
        sample = out.prev_sample
        expected.append(out.pred_original_sample)
    made = list(sample_ddim(network, noise(2), num_steps))
    assert len(made) == num_steps
    for ours, theirs in zip(made, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=3e-3, rtol=3e-3)
    torch.testing.assert_close(made[-1], sample, atol=3e-3, rtol=3e-3)


def test_a_single_step_from_pure_noise_is_minus_the_velocity() -> None:
    velocity = noise(3)
    times = []

    def network(noisy: Tensor, time: Tensor) -> Tensor:
        times.append(time)
        return velocity

    (made,) = sample_ddim(network, noise(4), 1)
    torch.testing.assert_close(made, -velocity, atol=1e-6, rtol=0)
    torch.testing.assert_close(times, [torch.ones(SHAPE[0])])


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 50])
def test_a_network_that_knows_the_truth_finds_it_in_any_number_of_steps(num_steps: int) -> None:
    truth = noise(5)

    def oracle(noisy: Tensor, time: Tensor) -> Tensor:
        signal, sigma = schedule(time)
        epsilon = (noisy - signal * truth) / sigma
        return signal * epsilon - sigma * truth

    for made in sample_ddim(oracle, noise(6), num_steps):
        torch.testing.assert_close(made, truth, atol=1e-4, rtol=1e-4)


def test_sampling_moves_along_known_noise() -> None:
    """Given the true noise, every intermediate sample equals that of `training_pair`."""
    truth, epsilon = noise(7), noise(8)
    seen = []

    def oracle(noisy: Tensor, time: Tensor) -> Tensor:
        seen.append((noisy, time))
        return training_pair(truth, time, epsilon)[1]

    list(sample_ddim(oracle, epsilon, 4))
    for noisy, time in seen:
        expected, _ = training_pair(truth, time, epsilon)
        torch.testing.assert_close(noisy, expected, atol=1e-5, rtol=1e-4)
    assert [float(time[0]) for _, time in seen] == [1, 0.75, 0.5, 0.25]


def test_each_of_a_batch_is_sampled_alone() -> None:
    def network(noisy: Tensor, time: Tensor) -> Tensor:
        return noisy.tanh() * time[:, None, None, None]

    *_, together = sample_ddim(network, noise(9), 3)
    *_, alone = sample_ddim(network, noise(9)[1:2], 3)
    torch.testing.assert_close(alone[0], together[1])


def test_the_loss_by_hand() -> None:
    clean, epsilon = torch.full((2, 1, 1, 2), 3.0), torch.full((2, 1, 1, 2), 4.0)
    # The velocity is the noise, 4, at time 0, and minus the clean value, -3, at time 1.
    time = torch.tensor([0.0, 1.0])
    weight = torch.tensor([1.0, 0.5])[None, None, None]

    def network(noisy: Tensor, time: Tensor) -> Tensor:
        return torch.zeros_like(noisy)

    loss, _ = diffusion_loss(network, clean, time, epsilon, weight)
    torch.testing.assert_close(loss, torch.tensor([16 * 0.75, 9 * 0.75]))


def test_a_perfect_network_has_no_loss() -> None:
    clean, epsilon, time = noise(10), noise(11), torch.tensor([0.2, 0.6, 1.0])

    def oracle(noisy: Tensor, time: Tensor) -> Tensor:
        return training_pair(clean, time, epsilon)[1]

    loss, estimate = diffusion_loss(oracle, clean, time, epsilon, torch.ones(1))
    assert not loss.any()
    torch.testing.assert_close(estimate, clean)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_times_are_drawn_with_the_wanted_share_at_the_end(share: float) -> None:
    times = draw_times(20_000, share, torch.Generator().manual_seed(0))
    at_end = times == 1
    assert float(at_end.float().mean()) == pytest.approx(share, abs=0.015)
    if share < 1:
        rest = times[~at_end]
        assert float(rest.mean()) == pytest.approx(0.5, abs=0.02)
        assert 0 <= float(rest.min()) < 0.01
        assert 0.99 < float(rest.max()) < 1
    torch.testing.assert_close(times, draw_times(20_000, share, torch.Generator().manual_seed(0)))
