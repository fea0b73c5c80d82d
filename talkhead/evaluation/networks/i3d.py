"""I3D: the network of FVD, Inception v1 inflated to three dimensions, trained on Kinetics-400.

FVD compares the 400 logits (before the softmax, averaged over the remaining time steps) of windows
of 16 frames. The whole picture is resized to 224 px by bilinear interpolation, without
anti-aliasing and with corners not aligned, then scaled to [-1, 1].

The variant: DeepMind's RGB network of 2017, first trained on ImageNet and then on Kinetics-400, as
converted by pytorch-i3d (rgb_imagenet.pt). The FVD paper's own script uses another training of the
same network, a TensorFlow Hub module, which others distribute as a TorchScript archive: such
archives are programs, which talkhead does not load. FVDs of the two are not comparable.

Padding is TensorFlow's "same": the padding that lets a side of n cover ceil(n / stride) steps; if
odd, it is larger at the end.

Source: Carreira and Zisserman, "Quo vadis, action recognition?" (2017); Unterthiner et al.,
"Towards accurate generative models of video" (2018); piergiaj/pytorch-i3d.

Verified against PyKale 0.2.1's copy of pytorch-i3d (with its last pooling set back to the
original's), with the same random weights, for 16 and 30 frames: the logits are identical. The
published weights were not available.
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

FILE = "rgb_imagenet.pt"
SIDE_PX = 224
WINDOW_FRAMES = 16
NUM_FEATURES = 400
BATCH_WINDOWS = 2

_Triple = tuple[int, int, int]
_ONE: _Triple = (1, 1, 1)
_THREE: _Triple = (3, 3, 3)


class Unit(nn.Module):
    """Convolution with "same" padding; then normalisation and ReLU, or only a bias."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: _Triple = _ONE,
        *,
        stride: _Triple = _ONE,
        is_logits: bool = False,
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride=stride, bias=is_logits)
        self.bn = None if is_logits else nn.BatchNorm3d(outputs, eps=0.001)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, h, w) to (B, C', T', h', w')."""
        x = self.conv3d(padded(x, self.kernel, self.stride))
        return x if self.bn is None else functional.relu(self.bn(x))


class Block(nn.Module):
    """Four branches: 1 x 1 x 1, two with 3 x 3 x 3, and max pooling."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit(inputs, widths[0])
        self.b1a = Unit(inputs, widths[1])
        self.b1b = Unit(widths[1], widths[2], _THREE)
        self.b2a = Unit(inputs, widths[3])
        self.b2b = Unit(widths[3], widths[4], _THREE)
        self.b3b = Unit(inputs, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, T, h, w) to (B, sum of the four branches, T, h, w)."""
        return torch.cat(
            [
                self.b0(x),
                self.b1b(self.b1a(x)),
                self.b2b(self.b2a(x)),
                self.b3b(max_pool(x, _THREE, _ONE)),
            ],
            1,
        )


class I3d(nn.Module):
    """I3D up to its 400 logits, with the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, (7, 7, 7), stride=(2, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, _THREE)
        self.Mixed_3b = Block(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = Block(256, (128, 128, 192, 32, 96, 64))
        self.Mixed_4b = Block(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = Block(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = Block(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = Block(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = Block(528, (256, 160, 320, 32, 128, 128))
        self.Mixed_5b = Block(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = Block(832, (384, 192, 384, 48, 128, 128))
        self.logits = Unit(1024, NUM_FEATURES, is_logits=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows in [-1, 1], (B, 3, T, 224, 224), 9 frames or more, to logits, (B, 400)."""
        x = max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Mixed_3c(self.Mixed_3b(x)), _THREE, (2, 2, 2))
        x = self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))
        x = max_pool(self.Mixed_4f(self.Mixed_4e(x)), (2, 2, 2), (2, 2, 2))
        x = self.Mixed_5c(self.Mixed_5b(x))
        logits: Tensor = self.logits(functional.avg_pool3d(x, (2, 7, 7), stride=1))
        return logits.mean((2, 3, 4))

    @torch.inference_mode()
    def features(
        self, frames: Pixels, *, batch_windows: int = BATCH_WINDOWS
    ) -> npt.NDArray[np.float32]:
        """Return the features for FVD, (W, 400), one row per complete window of 16 frames.

        Frames after the last complete window are ignored.

        Args:
            frames: uint8 RGB, (T, H, W, 3).
            batch_windows: windows per network call; does not affect the result.

        Raises:
            ValueError: frames are not uint8 RGB.
        """
        device = device_of(self)
        count = len(frames) // WINDOW_FRAMES
        found = []
        for batch in batches(frames[: count * WINDOW_FRAMES], batch_windows * WINDOW_FRAMES):
            windows = preprocess(batch, device).reshape(-1, WINDOW_FRAMES, 3, SIDE_PX, SIDE_PX)
            found.append(self(windows.transpose(1, 2)).cpu().numpy())  # (B, 3, 16, 224, 224)
        return np.concatenate([np.zeros((0, NUM_FEATURES), np.float32), *found])


def preprocess(frames: Pixels, device: torch.device) -> Tensor:
    """Scale uint8 RGB frames, (T, H, W, 3), to [-1, 1] at 224 px, (T, 3, 224, 224)."""
    x = to_channels_first(frames, device)
    x = functional.interpolate(x, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
    return x / 127.5 - 1


def padded(x: Tensor, kernel: _Triple, stride: _Triple) -> Tensor:
    """Pad (B, C, T, h, w) with zeros as TensorFlow's "same" does."""
    sides: list[int] = []
    # functional.pad starts with the last axis.
    for length, size, step in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        room = max(size - (length % step or step), 0)
        sides += [room // 2, room - room // 2]
    return functional.pad(x, sides)


def max_pool(x: Tensor, kernel: _Triple, stride: _Triple) -> Tensor:
    """Max-pool with "same" padding; x is never negative here, so the zeros have no effect."""
    return functional.max_pool3d(padded(x, kernel, stride), kernel, stride)


def load_i3d(folder: Path, *, device: str | torch.device = "cpu") -> I3d:
    """Load the network of FVD from the folder of its weights.

    Raises:
        WeightsError: the file is missing, corrupt, or does not fit.
    """
    path = folder / FILE
    return fill(I3d, read_tensors(path), source=str(path)).to(device)
