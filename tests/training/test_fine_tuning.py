import pytest
import torch
from torch import Tensor, nn

from talkhead.errors import TalkheadError
from talkhead.training.fine_tuning import Limit, fine_tune


def line() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, 1)


def squared_error(network: nn.Module) -> Tensor:
    inputs = torch.eye(4)
    error: Tensor = (network(inputs) - torch.arange(4.0)[:, None]).square().mean()
    return error


def test_it_learns_in_as_many_steps_as_it_may() -> None:
    network = line().requires_grad_(False)
    seen = list(
        fine_tune(network, lambda step: squared_error(network), Limit(300), learning_rate=0.1)
    )
    assert [progress.step for progress in seen] == list(range(1, 301))
    assert (seen[149].share, seen[-1].share) == (0.5, 1.0)
    assert seen[-1].loss < 0.01 * seen[0].loss
    assert not any(value.requires_grad for value in network.parameters())


def test_the_time_ends_it() -> None:
    assert Limit(None, 100.0).share(5, 0.0) > 1  # the clock has long passed 100 s
    network = line()
    tuning = fine_tune(
        network, lambda step: squared_error(network), Limit(None, 0.0), learning_rate=0.1
    )
    assert len(list(tuning)) <= 1


def test_the_same_steps_give_the_same_network() -> None:
    networks = [line() for _ in range(2)]

    def train(network: nn.Module) -> None:
        for _ in fine_tune(
            network, lambda step: squared_error(network), Limit(20), learning_rate=0.1
        ):
            pass

    for network in networks:
        train(network)
    assert torch.equal(networks[0].weight, networks[1].weight)
    assert not torch.equal(networks[0].weight, line().weight)


def test_a_loss_that_is_not_finite_is_told() -> None:
    network = line()

    def loss(step: int) -> Tensor:
        return squared_error(network) * (float("nan") if step == 2 else 1.0)

    with pytest.raises(TalkheadError, match="the loss is not finite after 3 steps"):
        list(fine_tune(network, loss, Limit(9), learning_rate=0.1))
