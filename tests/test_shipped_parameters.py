"""Every parameter of every shipped network has learned something."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkhead.networks import Network, class_name_of
from talkhead.pipelines.loading import NETWORKS
from talkhead.weights.systems import CHECKPOINTS, TENSORS_NAME

FOLDERS = sorted(path.parent for path in CHECKPOINTS.rglob(TENSORS_NAME))
IDLE: dict[str, set[str]] = {
    # Channels of the lowest level, 4 px wide, that no face of its two people moves.
    "mask-noise-paper/video_denoiser": {"middle.over_time.weight"},
}
"""Parameters that may be as they began, by folder."""


def idle_parameters(network: Network, folder: Path) -> Iterator[str]:
    """Yield the names of parameters that are as they began, in whole or in a slice.

    Two networks that were initialised with different seeds show what initial values are constant.
    """
    config = type(network).read_config(folder)
    fresh = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh.append(dict(type(network)(**config).named_parameters()))
    for name, value in network.named_parameters():
        one, other = fresh[0][name].detach(), fresh[1][name].detach()
        is_constant = torch.equal(one, other)
        if (is_constant and torch.equal(value.detach(), one)) or has_silent_slice(value.detach()):
            yield name


def has_silent_slice(value: Tensor) -> bool:
    """Return whether a matrix or kernel ignores an input or never moves an output."""
    if value.ndim < 2:
        return False
    return any(not bool(value.movedim(axis, 0).flatten(1).any(1).all()) for axis in range(2))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_parameter_has_learned(folder: Path) -> None:
    network = NETWORKS[class_name_of(folder)].from_pretrained(folder)
    name = folder.relative_to(CHECKPOINTS).as_posix()
    assert set(idle_parameters(network, folder)) == IDLE.get(name, set())
