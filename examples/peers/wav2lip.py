"""Wav2Lip's network for `talkhead benchmark --peer`, in its published size, untrained.

It makes faces of 96 px. Finding them and putting them back into the picture come on top.
"""

import torch
from torch import nn

FRAMES = 16


class Step(nn.Module):
    """A convolution, possibly transposed or residual, with its normalisation."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        grows: bool = False,
        adds: bool = False,
    ) -> None:
        super().__init__()
        if grows:
            extra = 0 if stride == 1 else 1
            self.convolution: nn.Module = nn.ConvTranspose2d(
                *channels, kernel, stride, padding, output_padding=extra
            )
        else:
            self.convolution = nn.Conv2d(*channels, kernel, stride, padding)
        self.norm = nn.BatchNorm2d(channels[1])
        self.adds = adds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, D, H / stride, W / stride)."""
        out = self.norm(self.convolution(x))
        return torch.relu(out + x if self.adds else out)


def _steps(first: Step, width: int, count: int) -> nn.Sequential:
    return nn.Sequential(first, *(Step((width, width), adds=True) for _ in range(count)))


class Wav2Lip(nn.Module):
    """From a masked face, a reference and a spectrogram to the face."""

    def __init__(self) -> None:
        super().__init__()
        shrinking = [(16, 32, 2), (32, 64, 3), (64, 128, 2), (128, 256, 2), (256, 512, 1)]
        self.down = nn.ModuleList(
            [
                Step((6, 16), 7, 1, 3),
                *(_steps(Step((a, b), stride=2), b, count) for a, b, count in shrinking),
                nn.Sequential(Step((512, 512), padding=0), Step((512, 512), 1, 1, 0)),
            ]
        )
        self.sound = nn.Sequential(
            _steps(Step((1, 32)), 32, 2),
            _steps(Step((32, 64), stride=(3, 1)), 64, 2),
            _steps(Step((64, 128), stride=3), 128, 2),
            _steps(Step((128, 256), stride=(3, 2)), 256, 1),
            Step((256, 512), padding=0),
            Step((512, 512), 1, 1, 0),
        )
        growing = [(1024, 512), (768, 384), (512, 256), (320, 128), (160, 64)]
        self.up = nn.ModuleList(
            [
                Step((512, 512), 1, 1, 0),
                _steps(Step((1024, 512), padding=0, grows=True), 512, 1),
                *(_steps(Step(pair, stride=2, grows=True), pair[1], 2) for pair in growing),
            ]
        )
        self.last = nn.Sequential(Step((80, 32)), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, faces: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        """Map (B, 6, 96, 96) and (B, 1, 80, 16) to (B, 3, 96, 96)."""
        kept = []
        for step in self.down:
            faces = step(faces)
            kept.append(faces)
        x = self.sound(mel)
        for step in self.up:
            x = torch.cat([step(x), kept.pop()], 1)
        out: torch.Tensor = self.last(x)
        return out


def build() -> tuple[nn.Module, tuple[torch.Tensor, ...], int]:
    """Return the network, its inputs, and how many frames it makes."""
    return Wav2Lip(), (torch.zeros(FRAMES, 6, 96, 96), torch.zeros(FRAMES, 1, 80, 16)), FRAMES
