"""3 x 3 convolutions with fewer multiplications, for processors without a faster way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from typing_extensions import Self

_TILE_PX = 4
_MIN_CHANNELS = 96
"""With fewer, moving tiles about takes longer than the multiplications that it saves."""
_MAX_BYTES = 2**22
"""As many images are computed at a time as have tiles that stay in a processor's caches."""
_MIN_SIDE_PX = 8
"""Smaller images have too few tiles for products of matrices to be fast."""

# Transforms of rows of 6 inputs, 3 weights and 6 products, from Lavin and Gray, "Fast Algorithms
# for Convolutional Neural Networks", CVPR 2016, F(4 x 4, 3 x 3).
_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
_KERNEL = (
    torch.tensor(
        [[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        dtype=torch.float64,
    )
    / 24
)
_OUTPUT = torch.tensor(
    [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float64,
)
# For both directions at once.
_INPUT_2D, _OUTPUT_2D = (torch.kron(matrix, matrix).float() for matrix in (_INPUT, _OUTPUT))


class Conv3x3(nn.Conv2d):
    """A 3 x 3 convolution that keeps the size, with the tensors of `nn.Conv2d`.

    Without gradients and in float32 on the CPU it computes tiles of 4 x 4 pixels by Winograd's
    method, with a quarter of the multiplications: up to twice as fast there. The results differ by
    rounding. Elsewhere (gradients, autocast, GPUs) it is `nn.Conv2d` itself.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self._transformed: tuple[int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        if not self._suits(x):
            return super().forward(x)
        batch, _, height, width = x.shape
        down, across = -(-height // _TILE_PX), -(-width // _TILE_PX)
        num_values = len(_INPUT_2D) * down * across * max(self.in_channels, self.out_channels)
        num_parts = -(-batch * num_values * x.element_size() // _MAX_BYTES)
        size = -(-batch // num_parts)
        kernel = self._tile_kernel()
        images = x.new_empty(batch, down * _TILE_PX, across * _TILE_PX, self.out_channels)
        for start in range(0, batch, size):
            out = images[start : start + size]
            _join_tiles(torch.bmm(_cut_tiles(x[start : start + size]), kernel), out)
            if self.bias is not None:
                out += self.bias
        return images[:, :height, :width].permute(0, 3, 1, 2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the tensors, as `nn.Module.to` asks for."""
        self._transformed = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _suits(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and len(x) > 0
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and min(self.in_channels, self.out_channels) >= _MIN_CHANNELS
            and min(x.shape[-2:]) >= _MIN_SIDE_PX
        )

    def _tile_kernel(self) -> Tensor:
        """Return the kernel in the space of tiles, (36, in_channels, out_channels).

        It is kept until the weight changes.
        """
        version = self.weight._version  # counts what changes the tensor in place
        kept = self._transformed
        if kept is None or kept[0] != version:
            # In float64, because the transform divides by up to 24.
            weight = self.weight.double().flatten(2).permute(2, 1, 0)
            kernel = torch.kron(_KERNEL, _KERNEL) @ weight.reshape(9, -1)
            kept = (version, kernel.float().view(36, self.in_channels, self.out_channels))
            self._transformed = kept
        return kept[1]


def _cut_tiles(x: Tensor) -> Tensor:
    """Map (B, C, H, W) to transformed tiles of 6 x 6 pixels, 4 pixels apart, (36, tiles, C)."""
    channels, height, width = x.shape[1:]
    below, right = -height % _TILE_PX + 1, -width % _TILE_PX + 1
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
    tiles = padded.unfold(1, _TILE_PX + 2, _TILE_PX).unfold(2, _TILE_PX + 2, _TILE_PX)
    rows = tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
    return (_INPUT_2D @ rows).view(36, -1, channels)


def _join_tiles(products: Tensor, out: Tensor) -> None:
    """Map (36, tiles, C) to images, into `out`, (B, H, W, C), whose sides are whole tiles."""
    batch, height, width, channels = out.shape
    down, across = height // _TILE_PX, width // _TILE_PX
    rows = _OUTPUT_2D @ products.view(36, -1)
    tiles = rows.view(_TILE_PX, _TILE_PX, batch, down, across, channels).permute(2, 3, 0, 4, 1, 5)
    out.view(batch, down, _TILE_PX, across, _TILE_PX, channels).copy_(tiles)
