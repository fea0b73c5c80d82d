"""Classifier two-sample test: can a fresh network tell generated mouths from real ones?

A network learns to tell patches of one half of the people, and is tested on the other half, and the
other way round. It judges what the averages of pixel measures reward: a blurred mouth is easily
told. An accuracy of 50 % means that it cannot tell them apart.

Source: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (2017).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.evaluation.intervals import Interval, mean_interval
from talkhead.evaluation.mouth_patches import spread_evenly
from talkhead.evaluation.perceptual import REAL_FEATURES
from talkhead.evaluation.scores import REAL, ClipScores

Pixels = npt.NDArray[np.uint8]

CPU = torch.device("cpu")
PATCHES = "mouths"
"""Name of the patches among the arrays of a clip's scores."""
MAX_PATCHES = 40
"""Patches per person, and as many real ones."""
MIN_PEOPLE = 6
SEEDS = (0, 1, 2)
WIDTHS = (32, 64, 96, 128)
NUM_STEPS = 300
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
JITTER = 0.1
"""Brightness and contrast vary by this share, each colour channel by half of it."""


def two_sample_test(
    scores: Iterable[ClipScores], device: torch.device = CPU
) -> tuple[dict[str, Interval], dict[str, int]]:
    """Return the accuracies of a set of clips, in percent, and the people behind them.

    Args:
        scores: scores of all systems on the same clips; those of the real video include the patches
            of the real frames.
        device: where to train the networks.

    Returns:
        By system, the accuracy with its interval over people; and for the systems that have too few
        people, their number.
    """
    real: dict[str, list[Pixels]] = {}
    generated: dict[str, dict[str, list[Pixels]]] = {}
    for one in scores:
        if one.system == REAL and REAL_FEATURES + PATCHES in one.arrays:
            real.setdefault(one.person, []).append(one.arrays[REAL_FEATURES + PATCHES])
        if PATCHES in one.arrays:
            of_system = generated.setdefault(one.system, {})
            of_system.setdefault(one.person, []).append(one.arrays[PATCHES])
    found: dict[str, Interval] = {}
    too_few: dict[str, int] = {}
    for system, of_people in generated.items():
        pairs = _equal_numbers(of_people, real)
        if len(pairs) < MIN_PEOPLE:
            too_few[system] = len(pairs)
        else:
            shares = accuracies(pairs, device)
            found[system] = mean_interval([100 * share for share in shares.values()])
    return found, too_few


def _equal_numbers(
    generated: Mapping[str, Sequence[Pixels]], real: Mapping[str, Sequence[Pixels]]
) -> dict[str, tuple[Pixels, Pixels]]:
    """Return as many generated as real patches of every person who has both."""
    pairs = {}
    for person in sorted(generated.keys() & real.keys()):
        both = [np.concatenate(of_people[person]) for of_people in (generated, real)]
        count = min(MAX_PATCHES, *(len(patches) for patches in both))
        ours, theirs = (spread_evenly(patches, count) for patches in both)
        pairs[person] = ours, theirs
    return pairs


def accuracies(
    pairs: Mapping[str, tuple[Pixels, Pixels]], device: torch.device = CPU
) -> dict[str, float]:
    """Return the share of every person's patches that networks tell right.

    The networks were trained on other people; the result is the mean over three of them.

    Args:
        pairs: by person, as many generated as real patches, (N, 64, 64, 3) each.
        device: where to train.
    """
    shares: dict[str, list[float]] = {person: [] for person in pairs}
    halves = split_people(pairs)
    for trained, tested in (halves, halves[::-1]):
        patches, labels = _gather([pairs[person] for person in trained], device)
        for seed in SEEDS:
            judge = train_judge(patches, labels, seed)
            for person in tested:
                own, truth = _gather([pairs[person]], device)
                with torch.inference_mode():
                    told = judge(own) > 0
                shares[person].append(float((told == (truth > 0)).float().mean()))
    return {person: float(np.mean(found)) for person, found in shares.items()}


def split_people(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split people in two halves by the digests of their names."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ordered[::2], ordered[1::2]


def train_judge(patches: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Train a fresh network to tell generated from real patches.

    Args:
        patches: (N, 3, 64, 64) in [-1, 1].
        labels: (N,), 1 for generated, 0 for real.
        seed: random seed of the network and of the batches.

    Returns:
        A network that maps patches (B, 3, 64, 64) to logits (B,), positive for generated.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = _network().to(patches.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(NUM_STEPS):
        chosen = torch.randint(len(patches), (BATCH_SIZE,), generator=generator).to(patches.device)
        logits = judge(_varied(patches[chosen], generator))
        loss = functional.binary_cross_entropy_with_logits(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return judge.eval()


class _Detail(nn.Module):
    """Appends the logarithms of the energy of fine and of coarser detail around every pixel.

    Recordings differ in sharpness, so only detail relative to other detail gives blur away. From
    colours alone, so small a network does not learn this: it told mouths blurred by 1 px from sharp
    ones in 53 % instead of 72 %.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
        self.register_buffer("kernel", kernel[None, None])

    def forward(self, patches: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 5, H, W)."""
        grey = patches.mean(1, keepdim=True)
        coarse = self._energy(functional.avg_pool2d(grey, 2))
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return torch.cat([patches, self._energy(grey), coarse], 1)

    def _energy(self, grey: Tensor) -> Tensor:
        edges = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), "replicate"), self.kernel)
        around = functional.avg_pool2d(edges.square(), 3, stride=1, padding=1)
        return 0.3 * torch.log(around + 1e-4) + 1  # about unit scale


def _network() -> nn.Sequential:
    layers: list[nn.Module] = [_Detail()]
    channels = 5
    for width in WIDTHS:
        conv = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Flatten(0))
    return nn.Sequential(*layers, *pooled)


def _varied(patches: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the patches, and vary their colours a little."""

    def draw(*shape: int) -> Tensor:
        drawn = torch.rand((len(patches), *shape), generator=generator) * 2 - 1
        return drawn.to(patches.device)

    flipped = torch.where(draw(1, 1, 1) > 0, patches, patches.flip(-1))
    gain = 1 + JITTER * draw(1, 1, 1) + JITTER / 2 * draw(3, 1, 1)
    return flipped * gain + JITTER * draw(1, 1, 1)


def _gather(pairs: Sequence[tuple[Pixels, Pixels]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return patches (N, 3, 64, 64) in [-1, 1], and 1 for each generated one, 0 for a real one."""
    generated, real = (np.concatenate(patches) for patches in zip(*pairs, strict=True))
    pixels = torch.from_numpy(np.concatenate([generated, real])).to(device).permute(0, 3, 1, 2)
    labels = torch.cat([torch.ones(len(generated)), torch.zeros(len(real))])
    return pixels.float() / 127.5 - 1, labels.to(device)
