"""Experts beside a frozen linear map, mixed by weights: of low rank (LoRA: Hu et al. 2021), or not.

Legend: B batch, T frames, E experts, R rank, I inputs, O outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class LowRankExperts(nn.Module):
    """Products of two thin matrices for each expert, whose weighted sum is added to a map.

    They are zero at first: the map then is what it was.
    """

    def __init__(self, num_experts: int, num_inputs: int, num_outputs: int, rank: int) -> None:
        """Creates the experts.

        Args:
            num_experts: Number of experts.
            num_inputs: Inputs of the map.
            num_outputs: Outputs of the map.
            rank: Columns of the thin matrices.
        """
        super().__init__()
        bound = 1 / math.sqrt(num_inputs)
        self.down = nn.Parameter(torch.empty(num_experts, rank, num_inputs).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.zeros(num_experts, num_outputs, rank))

    def forward(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """What the experts add to the map's output, the weighted sum of their products.

        Args:
            inputs: Input of the map, shape (batch, frames, inputs).
            weights: Weight of each expert in each utterance, shape (batch, experts); an expert
                whose weight is 0 in all of them is not computed.

        Returns:
            Shape (batch, frames, outputs).
        """
        used = (weights != 0).any(dim=0).nonzero()[:, 0]
        down, up = self.down[used], self.up[used]
        # (B, T, E, R): every expert's inner values, scaled by its weight.
        inner = torch.einsum("bti,eri->bter", inputs, down) * weights[:, None, used, None]
        return torch.einsum("bter,eor->bto", inner, up)


class MatrixExperts(nn.Module):
    """Matrices, one for each expert, whose weighted sum is added to a map; zero at first.

    One of them beside a frozen map is fine-tuning of the map.
    """

    def __init__(self, num_experts: int, num_inputs: int, num_outputs: int) -> None:
        """Creates the experts.

        Args:
            num_experts: Number of experts.
            num_inputs: Inputs of the map.
            num_outputs: Outputs of the map.
        """
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(num_experts, num_outputs, num_inputs))

    def forward(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """As ``LowRankExperts.forward``."""
        if len(self.matrix) == 1:  # without a scaled copy for each utterance
            products = functional.linear(inputs, self.matrix[0].to(inputs.dtype))
            return products * weights[:, None].to(products.dtype)
        mixed = torch.einsum("be,eoi->boi", weights, self.matrix)
        return torch.bmm(inputs, mixed.transpose(1, 2).to(inputs.dtype))


class Selection:
    """The expert weights of the utterances that are being processed, for all maps of a network."""

    def __init__(self) -> None:
        self.weights: Tensor | None = None
        """Shape (batch, experts); None for no experts."""


class AdaptedLinear(nn.Module):
    """A frozen linear map with experts beside it.

    The experts are parameters of whoever created them, not of the network with the map.
    """

    def __init__(
        self, linear: nn.Linear, owner: nn.ModuleDict, name: str, selection: Selection
    ) -> None:
        """Places experts beside a map.

        Args:
            linear: The map.
            owner: Experts of many maps.
            name: Key of those of this map, which may be replaced.
            selection: Their weights.
        """
        super().__init__()
        self.linear = linear
        self._owner = (owner,)  # not a submodule
        self._name = name
        self._selection = selection

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (batch, frames, inputs) to (batch, frames, outputs)."""
        outputs: Tensor = self.linear(inputs)
        weights = self._selection.weights
        if weights is None:
            return outputs
        added: Tensor = self._owner[0][self._name](inputs, weights)
        return outputs + added
