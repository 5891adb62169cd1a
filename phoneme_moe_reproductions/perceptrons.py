"""Perceptrons and mixtures of them on plain feature vectors, many runs side by side.

A run is one initialisation. All runs see the same cases, so a step of all of them is a few batched
products.

Legend: R runs, C cases, E experts, D outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.time_delay import ExpertLinear


class Perceptron(nn.Module):
    """Layers of sigmoid units, the last one linear; ``num_runs`` independent copies."""

    def __init__(self, num_runs: int, sizes: Sequence[int]) -> None:
        """Plain sizes.

        Args:
            num_runs: Independent copies.
            sizes: Inputs, units of each hidden layer, outputs; two sizes make a linear map.
        """
        super().__init__()
        self.layers = nn.ModuleList(
            ExpertLinear(num_runs, sizes[i], sizes[i + 1]) for i in range(len(sizes) - 1)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs before any final squashing.

        Args:
            inputs: Shape (cases, inputs), the same for every run.

        Returns:
            Shape (runs, cases, outputs).
        """
        values = inputs[None, None]  # (1, 1, C, inputs)
        for number, layer in enumerate(self.layers):
            values = layer(values if number == 0 else torch.sigmoid(values))
        return values[:, 0]


class PerceptronMixture(nn.Module):
    """Experts behind a softmax gate, for vectors (Jacobs, Jordan, Nowlan & Hinton 1991)."""

    def __init__(
        self,
        num_runs: int,
        num_experts: int,
        num_inputs: int,
        num_outputs: int,
        gate_inputs: int | None = None,
        expert_hidden: Sequence[int] = (),
        gate_hidden: Sequence[int] = (),
    ) -> None:
        """Plain sizes.

        Args:
            num_runs: Independent mixtures.
            num_experts: Experts of each.
            num_inputs: Inputs of every expert.
            num_outputs: Outputs of every expert.
            gate_inputs: Inputs of the gate, if they differ from those of the experts.
            expert_hidden: Hidden units of every expert; none makes it linear.
            gate_hidden: Hidden units of the gate.
        """
        super().__init__()
        self.num_runs = num_runs
        self.num_experts = num_experts
        self.experts = Perceptron(num_runs * num_experts, (num_inputs, *expert_hidden, num_outputs))
        self.gate = Perceptron(num_runs, (gate_inputs or num_inputs, *gate_hidden, num_experts))

    def forward(self, inputs: Tensor, gate_inputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Proportions and outputs.

        Args:
            inputs: Of the experts, shape (cases, inputs).
            gate_inputs: Of the gate, shape (cases, gate inputs); the same when None.

        Returns:
            Logarithms of the gate's proportions, shape (runs, cases, experts), and the experts'
            outputs before any squashing, shape (runs, cases, experts, outputs).
        """
        gate_inputs = inputs if gate_inputs is None else gate_inputs
        outputs = self.experts(inputs)  # (R * E, C, D)
        outputs = outputs.unflatten(0, (self.num_runs, self.num_experts)).transpose(1, 2)
        return torch.log_softmax(self.gate(gate_inputs), dim=-1), outputs
