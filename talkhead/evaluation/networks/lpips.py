"""LPIPS: perceptual distance of two pictures, from AlexNet's features and learned weights.

Version 0.1 with AlexNet. Both pictures go through AlexNet's five convolutions. After each ReLU, the
features of a position are normalised to length 1, the squared differences of the channels are
weighted and summed, and the result is averaged over positions. The five averages are summed.
Distances from other networks (VGG, SqueezeNet) or from version 0.0 are not comparable.

Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric"
(CVPR 2018), and the package lpips 0.1.4.

Verified against that package's own network, with its published heads and the same random AlexNet
in both: the distances of random pictures differ by a relative 7e-8. AlexNet's published weights
were not available.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from talkhead.evaluation.networks.published import (
    Pixels,
    batches,
    device_of,
    fill,
    read_tensors,
    to_channels_first,
)

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
HEADS_FILE = "alex.pth"
BATCH_FRAMES = 16
CHANNELS = (64, 192, 384, 256, 256)

_CLASSIFIER = frozenset(f"classifier.{i}.{kind}" for i in (1, 4, 6) for kind in ("weight", "bias"))
"""Tensors in AlexNet's file that are not needed: the classifier."""
_RELU_LAYERS = (1, 4, 7, 9, 11)
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class AlexNetFeatures(nn.Module):
    """The convolutions of torchvision's AlexNet."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to the features after each of the five ReLUs."""
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _RELU_LAYERS:
                found.append(x)
        return found


class Head(nn.Module):
    """Weights of one layer's channels; their dropout only matters in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, 1, h, w)."""
        weighted: Tensor = self.model(x)
        return weighted


class Heads(nn.Module):
    """The heads of the five layers."""

    def __init__(self) -> None:
        super().__init__()
        for index, channels in enumerate(CHANNELS):
            self.add_module(f"lin{index}", Head(channels))

    def forward(self, generated: list[Tensor], real: list[Tensor]) -> Tensor:
        """Return the distances of two lists of features, (B,)."""
        return sum(
            (
                head(torch.square(_to_length_one(a) - _to_length_one(b))).mean((1, 2, 3))
                for head, a, b in zip(self.children(), generated, real, strict=True)
            ),
            start=torch.zeros(len(generated[0]), device=generated[0].device),
        )


class Lpips(nn.Module):
    """LPIPS v0.1 with AlexNet."""

    def __init__(self, backbone: AlexNetFeatures, heads: Heads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Return the distances of pictures in [-1, 1], (B, 3, H, W) each, as (B,)."""
        distances: Tensor = self.heads(
            self.backbone(_scaled(generated)), self.backbone(_scaled(real))
        )
        return distances

    @torch.inference_mode()
    def distances(
        self, generated: Pixels, real: Pixels, *, batch_frames: int = BATCH_FRAMES
    ) -> npt.NDArray[np.float32]:
        """Return the distance of every pair of frames.

        For tLP, pass neighbouring frames of one video: ``distances(frames[1:], frames[:-1])``.

        Args:
            generated: uint8 RGB, (T, H, W, 3), at least 64 px per side.
            real: the same.
            batch_frames: frames per network call; does not affect the result.

        Returns:
            (T,), 0 for identical frames.

        Raises:
            ValueError: the shapes differ, or frames are not uint8 RGB.
        """
        if generated.shape != real.shape:
            raise ValueError(f"generated frames are {generated.shape}, but real ones {real.shape}")
        device = device_of(self)
        found = [
            self(preprocess(a, device), preprocess(b, device)).cpu().numpy()
            for a, b in zip(
                batches(generated, batch_frames), batches(real, batch_frames), strict=True
            )
        ]
        return np.concatenate([np.zeros(0, np.float32), *found])


def preprocess(frames: Pixels, device: torch.device) -> Tensor:
    """Scale uint8 RGB frames, (T, H, W, 3), to [-1, 1], (T, 3, H, W)."""
    return to_channels_first(frames, device) / 127.5 - 1


def load_lpips(backbone: Path, heads: Path, *, device: str | torch.device = "cpu") -> Lpips:
    """Load LPIPS from the folders of AlexNet's weights and of the heads.

    Raises:
        WeightsError: a file is missing, corrupt, or does not fit.
    """
    trunk, weights = backbone / BACKBONE_FILE, heads / HEADS_FILE
    return Lpips(
        fill(AlexNetFeatures, read_tensors(trunk), source=str(trunk), unused=_CLASSIFIER),
        fill(Heads, read_tensors(weights), source=str(weights)),
    ).to(device)


def _scaled(pictures: Tensor) -> Tensor:
    """Normalise [-1, 1] to AlexNet's training range: about zero mean and unit variance."""
    shift, scale = (pictures.new_tensor(row)[:, None, None] for row in (_SHIFT, _SCALE))
    return (pictures - shift) / scale


def _to_length_one(features: Tensor) -> Tensor:
    length = torch.sqrt(torch.square(features).sum(1, keepdim=True))
    return features / (length + _EPSILON)
