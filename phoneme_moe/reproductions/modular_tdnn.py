"""The Modular TDNN of Waibel, Sawai & Shikano (1989): trained nets joined into one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN


class ModularTDNN(nn.Module):
    """Trained nets as one larger net: every class sees its own row of units in all of them.

    The first layers stay as they are; what is above them (``higher_layers``) is trained on (Modular
    TDNN, Hampshire & Waibel 1989, after Waibel 1989). The nets meet at the outputs only.
    """

    def __init__(self, modules: TokenTDNN) -> None:
        """Begins as the mean of the modules' own scores.

        Args:
            modules: One copy for each module, a row for each class; the net is changed in place.
        """
        super().__init__()
        if not modules.row_per_class:
            raise ValueError("every class of a module must have a row of its own")
        self.modules_ = modules
        modules.hidden1.requires_grad_(False)
        count = len(modules.output_weight)
        self.weight = nn.Parameter(modules.output_weight.detach()[:, 0] / count)
        self.bias = nn.Parameter(modules.output_bias.detach()[:, 0].mean(dim=0))

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """Scores of the classes, shape (slots, classes).

        Args:
            frames: The same for all modules, shape (1, slots, frames, features).
            mask: Unused: a token has no padding.
        """
        return torch.einsum("knp,kp->np", self.modules_.rows(frames), self.weight) + self.bias

    def higher_layers(self) -> Iterator[nn.Parameter]:
        """What is trained when the modules are joined: the second hidden layer and the outputs."""
        yield from self.modules_.hidden2.parameters()
        yield self.weight
        yield self.bias

    @property
    def num_connections(self) -> int:
        """Connections, counted as published: those of the modules, whose outputs are joined."""
        modules, classes = self.weight.shape
        positions = self.modules_.num_positions[1]
        without_outputs = self.modules_.num_connections - classes * (positions + 1)
        return modules * without_outputs + classes * (modules * positions + 1)
