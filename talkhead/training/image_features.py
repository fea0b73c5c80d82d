"""Features of pictures from a published classifier, frozen: what a discriminator looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.errors import WeightsError
from talkhead.weights.strict_files import opened_tensors

STAGES = (
    ((3, 1, 16),),
    ((3, 2, 24), (3, 1, 24)),
    ((5, 2, 40), (5, 1, 40)),
    ((3, 2, 80), (3, 1, 80), (3, 1, 80)),
    ((5, 1, 112), (5, 1, 112), (5, 1, 112)),
)
"""Kernel, stride and channels of each block, up to 1/16 of the resolution; two stages are left
out."""
SHOWN = (0, 1, 2, 4)
"""Stages whose features are returned, at 1/2, 1/4, 1/8 and 1/16."""
CHANNELS = tuple(STAGES[stage][-1][-1] for stage in SHOWN)
_NORM_EPSILON = 1e-3


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0, without its last stages and its classifier; nothing of it is trained.

    Args:
        path: its tensors under the names of timm, such as ``model.safetensors`` of
            ``timm/tf_efficientnet_lite0.in1k`` on the hub.

    Raises:
        WeightsError: the file is missing or corrupt, or holds another network.

    Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks"
    (2019); the Lite form has ReLU6 and no squeeze-and-excitation.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        with opened_tensors(path) as file:
            self.stem = _Convolution(file, path, "conv_stem", "bn1", stride=2)
            self.stages = nn.ModuleList()
            for stage, blocks in enumerate(STAGES):
                made = nn.ModuleList(
                    _block(file, path, f"blocks.{stage}.{number}", stride, is_first=stage == 0)
                    for number, (_, stride, _) in enumerate(blocks)
                )
                self.stages.append(made)
        found = tuple(self.stages[stage][-1][-1].weight.shape[0] for stage in SHOWN)  # type: ignore[index]
        if found != CHANNELS:
            raise WeightsError(f"{path} is no EfficientNet-Lite0: its stages have {found} channels")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [-1, 1] to the features of the stages `SHOWN`."""
        x = functional.relu6(self.stem(image.float().contiguous(memory_format=torch.channels_last)))
        shown = []
        for number, stage in enumerate(self.stages):
            blocks: Any = stage
            for place, block in enumerate(blocks):
                inner = x
                for layer in block[:-1]:
                    inner = functional.relu6(layer(inner))
                inner = block[-1](inner)
                x = x + inner if place else inner
            if number in SHOWN:
                shown.append(x)
        return shown


def _block(file: Any, path: Path, name: str, stride: int, *, is_first: bool) -> nn.ModuleList:
    """Return the layers of an inverted residual; those of the first stage do not expand."""
    names = ("conv_dw", "conv_pw") if is_first else ("conv_pw", "conv_dw", "conv_pwl")
    return nn.ModuleList(
        _Convolution(
            *(file, path, f"{name}.{layer}", f"{name}.bn{number}"),
            stride=stride if layer == "conv_dw" else 1,
        )
        for number, layer in enumerate(names, 1)
    )


class _Convolution(nn.Module):
    """A convolution with its normalisation folded in, padded as TensorFlow does."""

    weight: Tensor
    bias: Tensor

    def __init__(self, file: Any, path: Path, name: str, norm: str, *, stride: int) -> None:
        super().__init__()
        names = [f"{name}.weight"] + [
            f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")
        ]
        stored = set(file.keys())
        missing = [each for each in names if each not in stored]
        if missing:
            raise WeightsError(f"{path} is no EfficientNet-Lite0: it lacks {missing[0]}")
        weight, scale, bias, mean, variance = (file.get_tensor(each).float() for each in names)
        scale = scale / (variance + _NORM_EPSILON).sqrt()
        weight = weight * scale[:, None, None, None]
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias - mean * scale, persistent=False)
        self._stride = stride
        self._groups = weight.shape[0] if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        padding = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // self._stride) - 1) * self._stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(x, padding), self.weight, self.bias, self._stride, groups=self._groups
        )
