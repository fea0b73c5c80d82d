"""Random tensors under the names of a network, and files of them as they are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def random_state(build: Callable[[], nn.Module], seed: int = 0) -> dict[str, Tensor]:
    """Tensors that keep activations at about the same size from layer to layer."""
    rng = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        wanted = build().state_dict()
    state = {}
    for name, tensor in wanted.items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(7)
        elif kind == "running_var" or (kind == "weight" and tensor.ndim == 1):
            state[name] = 0.5 + torch.rand(tensor.shape, generator=rng)
        elif tensor.ndim == 1:
            state[name] = 0.2 * torch.randn(tensor.shape, generator=rng)
        else:
            size = (2 / tensor[0].numel()) ** 0.5
            state[name] = size * torch.randn(tensor.shape, generator=rng)
    return state


def publish(path: Path, state: Mapping[str, Tensor], *, is_old: bool = False) -> Path:
    """Write a file as PyTorch does, or did before version 1.6."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path, _use_new_zipfile_serialization=not is_old)
    return path


def random_frames(count: int, side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def resized(picture: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float64]:
    """Bilinear interpolation between the four nearest pixels, written out with numpy."""
    places = [
        np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
        for length in picture.shape[:2]
    ]
    low = [np.floor(place).astype(int) for place in places]
    high = [np.minimum(a + 1, n - 1) for a, n in zip(low, picture.shape[:2], strict=True)]
    down, right = places[0] - low[0], places[1] - low[1]
    values = picture.astype(np.float64)
    above, below = values[low[0]], values[high[0]]
    rows = above + (below - above) * down[:, None, None]
    left, other = rows[:, low[1]], rows[:, high[1]]
    return np.asarray(left + (other - left) * right[None, :, None])
