"""Utterances to the experts that they are meant for, and back.

Experts run side by side as one batched product, so each must be given equally many utterances. A
``Dispatch`` lays a batch out as (experts, slots, ...): expert e's utterances in its row, empty
slots masked. With a batch that holds equally many utterances of every speaker no slot is empty, and
nothing is computed that the routing left out.

Legend: B batch, E experts, S slots of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dispatch:
    """Where each utterance of a batch goes.

    Attributes:
        expert: Expert of each utterance, shape (batch,).
        slot: Its place in that expert's row, shape (batch,).
        num_experts: Rows.
        num_slots: Places in each row.
    """

    expert: Tensor
    slot: Tensor
    num_experts: int
    num_slots: int

    @classmethod
    def to_experts(cls, expert: Tensor, num_experts: int) -> Dispatch:
        """Plans the layout.

        Args:
            expert: Index of the expert of each utterance, shape (batch,).
            num_experts: How many there are.
        """
        chosen = torch.nn.functional.one_hot(expert, num_experts)  # (B, E)
        slot = (chosen.cumsum(dim=0) * chosen).sum(dim=1) - 1
        return cls(expert, slot, num_experts, int(chosen.sum(dim=0).max()))

    def pack(self, values: Tensor) -> Tensor:
        """Lays values of shape (batch, ...) out as (experts, slots, ...), zeros in empty slots."""
        packed = values.new_zeros(self.num_experts, self.num_slots, *values.shape[1:])
        return packed.index_put((self.expert, self.slot), values)

    def unpack(self, packed: Tensor) -> Tensor:
        """Takes (experts, slots, ...) back to (batch, ...)."""
        return packed[self.expert, self.slot]
