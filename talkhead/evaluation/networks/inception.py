"""The Inception network of FID: TensorFlow's of 2015, as converted by pytorch-fid.

FID compares the 2,048 spatial means of the network's last block (pool3). The network is Inception
v3 with the quirks of the TensorFlow graph, kept because every published FID has them:

- average pooling inside blocks does not count the padding;
- the last block uses max pooling where its neighbours average;
- pictures are resized to 299 px by bilinear interpolation, without anti-aliasing and with corners
  not aligned, then scaled to [-1, 1].

pytorch-fid resizes as PyTorch does; the original graph placed pixels differently (corner to
corner), so the two FIDs differ slightly for pictures that are not 299 px.

Source: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2015); Heusel
et al., "GANs trained by a two time-scale update rule" (2017); pytorch-fid 0.3.0.

Verified with the same random weights and pictures: against pytorch-fid's network (on torchvision's
blocks), resizing included, and against that of torch-fidelity 0.4.0 after its resizing; the
features are identical. The published weights were not available.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.evaluation.networks.published import (
    Pixels,
    batches,
    device_of,
    fill,
    read_tensors,
    to_channels_first,
)

FILE = "pt_inception-2015-12-05-6726825d.pth"
SIDE_PX = 299
NUM_FEATURES = 2048
BATCH_FRAMES = 16

_CLASSIFIER = frozenset({"fc.weight", "fc.bias"})
"""Tensors in the file that are not needed: the classifier."""
_Size = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution, normalisation by batch statistics, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: _Size, *, stride: int = 1, padding: _Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h', w')."""
        return functional.relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """35 x 35 positions: branches with 1 x 1, 5 x 5 and two 3 x 3 convolutions, and a mean."""

    def __init__(self, inputs: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(inputs, 64, 1)
        self.branch5x5_1 = Unit(inputs, 48, 1)
        self.branch5x5_2 = Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(inputs, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(inputs, pool_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 224 + pool_features, h, w)."""
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                self.branch_pool(average_inside(x)),
            ],
            1,
        )


class BlockB(nn.Module):
    """From 35 x 35 to 17 x 17 positions."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Unit(inputs, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 480 + inputs, h', w')."""
        return torch.cat(
            [
                self.branch3x3(x),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                functional.max_pool2d(x, 3, stride=2),
            ],
            1,
        )


class BlockC(nn.Module):
    """17 x 17 positions: 7 x 7 convolutions, split into rows and columns."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row: tuple[int, int] = (1, 7)
        column: tuple[int, int] = (7, 1)
        self.branch1x1 = Unit(inputs, 192, 1)
        self.branch7x7_1 = Unit(inputs, width, 1)
        self.branch7x7_2 = Unit(width, width, row, padding=(0, 3))
        self.branch7x7_3 = Unit(width, 192, column, padding=(3, 0))
        self.branch7x7dbl_1 = Unit(inputs, width, 1)
        self.branch7x7dbl_2 = Unit(width, width, column, padding=(3, 0))
        self.branch7x7dbl_3 = Unit(width, width, row, padding=(0, 3))
        self.branch7x7dbl_4 = Unit(width, width, column, padding=(3, 0))
        self.branch7x7dbl_5 = Unit(width, 192, row, padding=(0, 3))
        self.branch_pool = Unit(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 768, h, w)."""
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
                self.branch_pool(average_inside(x)),
            ],
            1,
        )


class BlockD(nn.Module):
    """From 17 x 17 to 8 x 8 positions."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Unit(inputs, 192, 1)
        self.branch3x3_2 = Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Unit(inputs, 192, 1)
        self.branch7x7x3_2 = Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 512 + inputs, h', w')."""
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat(
            [
                self.branch3x3_2(self.branch3x3_1(x)),
                self.branch7x7x3_4(seven),
                functional.max_pool2d(x, 3, stride=2),
            ],
            1,
        )


class BlockE(nn.Module):
    """8 x 8 positions; with `is_last`, max pooling instead of average pooling."""

    def __init__(self, inputs: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.branch1x1 = Unit(inputs, 320, 1)
        self.branch3x3_1 = Unit(inputs, 384, 1)
        self.branch3x3_2a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Unit(inputs, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Unit(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 2048, h, w)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, 1, padding=1) if self.is_last else average_inside(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            1,
        )


class FidInception(nn.Module):
    """Inception v3 up to pool3, with the published names and quirks."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, is_last=False)
        self.Mixed_7c = BlockE(2048, is_last=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures of 299 px in [-1, 1], (B, 3, 299, 299), to features, (B, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))

    @torch.inference_mode()
    def features(
        self, frames: Pixels, *, batch_frames: int = BATCH_FRAMES
    ) -> npt.NDArray[np.float32]:
        """Return the features for FID, (T, 2048).

        Args:
            frames: uint8 RGB, (T, H, W, 3).
            batch_frames: frames per network call; does not affect the result.

        Raises:
            ValueError: frames are not uint8 RGB.
        """
        device = device_of(self)
        found = [
            self(preprocess(batch, device)).cpu().numpy() for batch in batches(frames, batch_frames)
        ]
        return np.concatenate([np.zeros((0, NUM_FEATURES), np.float32), *found])


def preprocess(frames: Pixels, device: torch.device) -> Tensor:
    """Scale uint8 RGB frames, (T, H, W, 3), to [-1, 1] at 299 px, (T, 3, 299, 299)."""
    x = to_channels_first(frames, device) / 255
    x = functional.interpolate(x, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
    return 2 * x - 1


def average_inside(x: Tensor) -> Tensor:
    """Average 3 x 3 positions, at the border only over existing ones."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def load_inception(folder: Path, *, device: str | torch.device = "cpu") -> FidInception:
    """Load the Inception network of FID from the folder of its weights.

    Raises:
        WeightsError: the file is missing, corrupt, or does not fit.
    """
    path = folder / FILE
    tensors = read_tensors(path)
    return fill(FidInception, tensors, source=str(path), unused=_CLASSIFIER).to(device)
