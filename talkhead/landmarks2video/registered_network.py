"""Networks that store the skin registration they were trained with."""

from __future__ import annotations

import torch
from torch import Tensor

from talkhead.geometry.mesh import NUM_POINTS
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES, Registration
from talkhead.networks import Network


class RegisteredNetwork(Network):
    """A network with the linear model that corrects meshes first.

    Buffers: `registration_basis` (K, 478, 3) and `registration_weights` (6 + K, 478, 2); see
    `talkhead.geometry.skin_registration`.
    """

    registration_basis: Tensor
    registration_weights: Tensor

    def add_registration(self, num_components: int) -> None:
        """Add the buffers, zero until a registration is fitted or loaded."""
        basis = torch.zeros(num_components, NUM_POINTS, 3)
        weights = torch.zeros(NUM_POSE_FEATURES + num_components, NUM_POINTS, 2)
        self.register_buffer("registration_basis", basis)
        self.register_buffer("registration_weights", weights)

    def registration(self) -> Registration:
        """Return the skin registration that the network was trained with."""
        basis, weights = self.registration_basis, self.registration_weights
        return Registration(basis.float().cpu().numpy(), weights.float().cpu().numpy())
