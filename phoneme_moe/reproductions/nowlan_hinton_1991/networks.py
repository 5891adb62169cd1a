"""Mixtures of small nets whose parameters are rows, many runs side by side.

A run is one row of a matrix, as ``reproductions.optimizers`` wants it. Cases come last in memory,
so that what is done for each of them runs along contiguous numbers: four times as fast here as
units last.

Legend: R runs, C cases, E experts, D outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

INITIAL_RANGE = 0.5


@dataclass(frozen=True)
class MixtureShape:
    """Experts of one shape and a gate; one expert without a gate is a plain net.

    Attributes:
        experts: How many.
        expert_sizes: Inputs, hidden units of each layer, outputs, of every expert.
        gate_sizes: The same of the gate, which has an output for each expert.
    """

    experts: int
    expert_sizes: tuple[int, ...]
    gate_sizes: tuple[int, ...] = ()

    @property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """Copies, inputs with the bias, outputs of every layer; the experts' first."""
        return [
            (copies, before + 1, after)
            for copies, sizes in ((self.experts, self.expert_sizes), (1, self.gate_sizes))
            for before, after in pairwise(sizes)
        ]

    def initial(self, runs: int, seed: int) -> Tensor:
        """Weights and biases uniform in +-0.5, the gate's last layer 0: all experts are equal.

        Returns:
            Shape (runs, parameters).
        """
        generator = torch.Generator().manual_seed(seed)
        size = sum(copies * before * after for copies, before, after in self._blocks)
        rows = torch.rand(runs, size, generator=generator) * 2 * INITIAL_RANGE - INITIAL_RANGE
        if self.gate_sizes:
            rows[:, -(self.gate_sizes[-2] + 1) * self.gate_sizes[-1] :] = 0
        return rows

    def __call__(
        self, rows: Tensor, inputs: Tensor, gate_inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Proportions and outputs.

        Args:
            rows: Shape (runs, parameters).
            inputs: What the experts see, shape (cases, inputs).
            gate_inputs: What the gate sees, shape (cases, gate inputs).

        Returns:
            Logarithms of the gate's proportions, shape (runs, cases, experts), and the experts'
            outputs, each a softmax, shape (runs, cases, experts, outputs).
        """
        parts = iter(torch.split(rows, [c * b * a for c, b, a in self._blocks], dim=1))
        outputs = self._layers(parts, self.experts, self.expert_sizes, inputs)
        outputs = outputs.softmax(dim=1)
        outputs = outputs.reshape(len(rows), self.experts, *outputs.shape[1:])  # (R, E, D, C)
        if gate_inputs is None:
            log_weights = outputs.new_zeros(len(rows), len(inputs), 1)
        else:
            gate = self._layers(parts, 1, self.gate_sizes, gate_inputs)  # (R, E, C)
            log_weights = gate.log_softmax(dim=1).transpose(1, 2)
        return log_weights, outputs.permute(0, 3, 1, 2)

    @staticmethod
    def _layers(
        parts: Iterator[Tensor], copies: int, sizes: tuple[int, ...], inputs: Tensor
    ) -> Tensor:
        """Sigmoid layers, the last one linear; shape (runs * copies, outputs, cases)."""
        values = inputs.T
        for number, (before, after) in enumerate(pairwise(sizes)):
            layer = next(parts).reshape(-1, after, before + 1)
            seen = torch.sigmoid(values) if number else values.expand(len(layer), -1, -1)
            values = torch.baddbmm(layer[:, :, :1], layer[:, :, 1:], seen)
        return values
