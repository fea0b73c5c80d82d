import copy
import math
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from talkhead.landmarks2video.sampling import (
    NUM_TIMESTEPS,
    SamplerOptions,
    default_scheduler,
    sample,
)

SHAPE = (3, 4, 5, 6)


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def signal_and_noise(time: Tensor) -> tuple[Tensor, Tensor]:
    """The formulas of the module's table, at times (B,) in [0, 1]."""
    angle = (time.double() * math.pi / 2)[:, None, None, None]
    return angle.cos().float(), angle.sin().float()


class Oracle:
    """Knows the clean sample, and remembers what it was asked."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean
        self.asked: list[tuple[Tensor, Tensor]] = []

    def __call__(self, noisy: Tensor, time: Tensor) -> Tensor:
        self.asked.append((noisy, time))
        signal, sigma = signal_and_noise(time)
        epsilon = (noisy - signal * self.clean) / sigma
        return signal * epsilon - sigma * self.clean

    @property
    def times(self) -> list[float]:
        return [float(time[0]) for _, time in self.asked]


class Gaussian:
    """The best possible network for data with a normal distribution.

    The sampling path then keeps each value's distance from the mean, counted in standard
    deviations. Without discretisation error, the sample is mean + deviation * epsilon.
    """

    mean, deviation = 0.7, 0.4

    def __call__(self, noisy: Tensor, time: Tensor) -> Tensor:
        signal, sigma = signal_and_noise(time)
        variance = signal**2 * self.deviation**2 + sigma**2
        share = signal * self.deviation**2 / variance
        clean = self.mean + share * (noisy - signal * self.mean)
        epsilon = sigma / variance * (noisy - signal * self.mean)
        return signal * epsilon - sigma * clean

    def exact(self, epsilon: Tensor) -> Tensor:
        return self.mean + self.deviation * epsilon


def test_the_schedule_is_a_cosine() -> None:
    scheduler = default_scheduler()
    steps = torch.tensor([0, 99, 332, 499, 799, 999])
    signal, _ = signal_and_noise((steps + 1) / NUM_TIMESTEPS)
    torch.testing.assert_close(
        scheduler.alphas_cumprod[steps].sqrt(), signal.flatten(), atol=1e-4, rtol=1e-3
    )
    assert float(scheduler.alphas_cumprod[-1]) == 0


def test_a_single_step_is_minus_the_velocity_of_pure_noise() -> None:
    velocity, asked = noise(3), []

    def network(noisy: Tensor, time: Tensor) -> Tensor:
        asked.append((noisy, time))
        return velocity

    generated = sample(network, noise(4), default_scheduler(), SamplerOptions(1))
    torch.testing.assert_close(generated, -velocity, atol=1e-6, rtol=0)
    ((noisy, time),) = asked
    assert torch.equal(noisy, noise(4))
    assert time.tolist() == [1, 1, 1]


@pytest.mark.parametrize("start_step", [None, 300])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 14, 50])
def test_a_network_that_knows_the_truth_finds_it_in_any_number_of_steps(
    num_steps: int, start_step: int | None
) -> None:
    oracle = Oracle(noise(5))
    generated = sample(
        oracle, noise(6), default_scheduler(), SamplerOptions(num_steps), start_step=start_step
    )
    torch.testing.assert_close(generated, oracle.clean, atol=2e-4, rtol=1e-4)
    assert len(oracle.asked) == num_steps


def test_there_are_no_more_steps_than_timesteps() -> None:
    oracle = Oracle(noise(5))
    generated = sample(oracle, noise(6), default_scheduler(), SamplerOptions(50), start_step=20)
    torch.testing.assert_close(generated, oracle.clean, atol=0.02, rtol=0)
    assert oracle.times == pytest.approx([k / 1000 for k in range(20, 0, -1)])


def test_steps_are_evenly_spaced_from_the_end() -> None:
    oracle = Oracle(noise(5))
    sample(oracle, noise(6), default_scheduler(), SamplerOptions(4))
    assert oracle.times == [1, 0.75, 0.5, 0.25]


def test_a_middle_step_starts_from_zeros_with_its_noise() -> None:
    oracle, epsilon = Oracle(noise(5)), noise(6)
    sample(oracle, epsilon, default_scheduler(), SamplerOptions(2), start_step=300)
    noisy, time = oracle.asked[0]
    _, sigma = signal_and_noise(time)
    torch.testing.assert_close(noisy, sigma * epsilon, atol=1e-4, rtol=1e-4)
    assert oracle.times == pytest.approx([0.3, 0.15])


def test_the_last_step_is_where_sampling_starts_anyway() -> None:
    network = Gaussian()
    found = [
        sample(network, noise(6), default_scheduler(), SamplerOptions(3), start_step=k)
        for k in (None, 1000)
    ]
    assert torch.equal(*found)


def test_networks_that_predict_the_clean_sample_are_sampled_too() -> None:
    truth, times = noise(5), []

    def network(noisy: Tensor, time: Tensor) -> Tensor:
        times.append(float(time[0]))
        return truth

    scheduler = default_scheduler("sample")
    generated = sample(network, noise(6), scheduler, SamplerOptions(3), start_step=300)
    torch.testing.assert_close(generated, truth, atol=1e-5, rtol=1e-5)
    assert times == pytest.approx([0.3, 0.2, 0.1])


def test_many_steps_come_close_to_the_exact_solution() -> None:
    network, epsilon = Gaussian(), noise(7)
    exact = network.exact(epsilon)
    errors = [
        float(
            (sample(network, epsilon, default_scheduler(), SamplerOptions(n)) - exact).abs().max()
        )
        for n in (2, 10, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, EulerDiscreteScheduler])
def test_other_schedulers_of_diffusers_take_its_place(kind: Any) -> None:
    network, epsilon = Gaussian(), noise(7)
    other = kind.from_config(default_scheduler().config)
    found = sample(network, epsilon, other, SamplerOptions(50))
    ours = sample(network, epsilon, default_scheduler(), SamplerOptions(50))
    assert float((found - ours).abs().max()) < 0.1
    assert float((found - network.exact(epsilon)).abs().max()) < 0.1


def test_schedulers_that_add_noise_take_it_from_the_seed() -> None:
    kind: Any = EulerAncestralDiscreteScheduler
    scheduler = kind.from_config(default_scheduler().config)
    found = [
        sample(Gaussian(), noise(7), scheduler, SamplerOptions(4, seed=seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("kind", [None, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("start_step", [None, 300])
def test_the_scheduler_stays_as_it_was(kind: Any, start_step: int | None) -> None:
    scheduler = default_scheduler()
    if kind is not None:
        scheduler = kind.from_config(scheduler.config)
    before = copy.deepcopy(vars(scheduler))
    sample(Gaussian(), noise(7), scheduler, SamplerOptions(3), start_step=start_step)
    assert vars(scheduler).keys() == before.keys()
    for name, value in vars(scheduler).items():
        if isinstance(value, Tensor):
            assert torch.equal(value, before[name]), name
        elif name != "model_outputs" or value is not None:
            assert str(value) == str(before[name]), name


def test_each_of_a_batch_is_sampled_alone() -> None:
    together = sample(Gaussian(), noise(9), default_scheduler(), SamplerOptions(3))
    alone = sample(Gaussian(), noise(9)[1:2], default_scheduler(), SamplerOptions(3))
    torch.testing.assert_close(alone[0], together[1])
