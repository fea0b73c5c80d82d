"""Kolmogorov-Arnold layer: each edge has a learnt function of one variable instead of a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class KanLinear(nn.Module):
    """y_o = sum over i of w_oi silu(x_i) + s_oi sum over g of c_oig B_g(x_i).

    B_g are the `grid_size + order` B-splines over [low, high]. Outside this range they are all zero
    and only the first term remains, so inputs should stay inside it. Each edge has
    ``grid_size + order + 2`` parameters.

    Args:
        num_in: size of the last dimension of the input.
        num_out: size of the last dimension of the output.
        grid_size: intervals between low and high.
        order: order of the splines; 3 is cubic.
        low: start of the grid.
        high: end of the grid.

    Source: Liu et al., "KAN: Kolmogorov-Arnold Networks" (2024), equations 2.10 to 2.12.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        *,
        grid_size: int = 5,
        order: int = 3,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__()
        self.order = order
        self._step = (high - low) / grid_size
        self._first = low - order * self._step  # first knot; the last is as far above high
        num_bases = grid_size + order
        self.base = nn.Parameter(torch.empty(num_out, num_in))
        self.scale = nn.Parameter(torch.empty(num_out, num_in))
        self.coefficients = nn.Parameter(torch.empty(num_out, num_in, num_bases))
        nn.init.kaiming_uniform_(self.base, a=5**0.5)
        nn.init.kaiming_uniform_(self.scale, a=5**0.5)
        nn.init.normal_(self.coefficients, std=0.1)

    def bases(self, x: Tensor) -> Tensor:
        """Evaluate the splines by de Boor's recursion, (...,) to (..., grid_size + order).

        On a uniform grid at most `order + 1` splines differ from zero at any point; only these are
        computed.
        """
        size = self.coefficients.shape[2]
        last = size + self.order - 1
        place = (x - self._first) / self._step
        cell = place.floor().clamp(0, last)
        after = place - cell  # distance from the knot, in steps
        found = [((place >= 0) & (place < last + 1)).to(x.dtype)]
        for k in range(1, self.order + 1):  # values of the splines from cell - k to cell
            rising = [(after + (k - j)) / k * found[j - 1] for j in range(1, k + 1)]
            falling = [(j + 1 - after) / k * found[j] for j in range(k)]
            middle = [up + down for up, down in zip(rising, falling[1:], strict=False)]
            found = [falling[0], *middle, rising[-1]]
        every = x.new_zeros(*x.shape, size + 2 * self.order)
        index = cell.long()[..., None] + torch.arange(self.order + 1, device=x.device)
        every = every.scatter(-1, index, torch.stack(found, -1))
        return every[..., self.order : self.order + size]

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., num_in) to (..., num_out)."""
        splines = self.coefficients * self.scale[..., None]
        curved = functional.linear(self.bases(x).flatten(-2), splines.flatten(1))
        return functional.linear(functional.silu(x), self.base) + curved
