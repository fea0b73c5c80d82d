"""Kolmogorov-Arnold layer: on every edge a learnt function of one variable, not a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class KanLinear(nn.Module):
    """y_o = sum over i of w_oi silu(x_i) + s_oi sum over g of c_oig B_g(x_i).

    B_g are the `grid_size + order` B-splines over [low, high]. Outside of it all of them are zero
    and the first term alone is left, so inputs belong into the range. An edge has
    ``grid_size + order + 2`` parameters.

    Args:
        num_in: size of the last dimension of what comes in.
        num_out: of what goes out.
        grid_size: intervals between low and high.
        order: of the splines: 3 is cubic.
        low: where the grid begins.
        high: where it ends.

    Source: Liu et al., "KAN: Kolmogorov-Arnold Networks" (2024), equations 2.10 to 2.12.
    """

    knots: Tensor

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
        step = (high - low) / grid_size
        steps = torch.arange(-order, grid_size + order + 1, dtype=torch.get_default_dtype())
        self.register_buffer("knots", steps * step + low, persistent=False)
        num_bases = grid_size + order
        self.base = nn.Parameter(torch.empty(num_out, num_in))
        self.scale = nn.Parameter(torch.empty(num_out, num_in))
        self.coefficients = nn.Parameter(torch.empty(num_out, num_in, num_bases))
        nn.init.kaiming_uniform_(self.base, a=5**0.5)
        nn.init.kaiming_uniform_(self.scale, a=5**0.5)
        nn.init.normal_(self.coefficients, std=0.1)

    def bases(self, x: Tensor) -> Tensor:
        """Evaluate the splines by de Boor's recursion, (...,) to (..., grid_size + order)."""
        x = x[..., None]
        knots = self.knots.to(x.dtype)
        found = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - knots[: -(k + 1)]) / (knots[k:-1] - knots[: -(k + 1)])
            right = (knots[k + 1 :] - x) / (knots[k + 1 :] - knots[1:-k])
            found = left * found[..., :-1] + right * found[..., 1:]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., num_in) to (..., num_out)."""
        splines = self.coefficients * self.scale[..., None]
        curved = functional.linear(self.bases(x).flatten(-2), splines.flatten(1))
        return functional.linear(functional.silu(x), self.base) + curved
