"""Dispatch of utterances to their assigned experts, and back.

All experts are computed in one batched product, so each needs the same number of utterances. A
``Dispatch`` arranges a batch as (experts, slots, ...): the utterances of expert e are in row e, and
empty slots are masked. If a batch has equally many utterances of every speaker, no slot is empty
and no computation is wasted.

Legend: B batch, E experts, S slots of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dispatch:
    """Position of each utterance of a batch in the array of experts and slots.

    Attributes:
        expert: Expert of each utterance, shape (batch,).
        slot: Its slot in the row of that expert, shape (batch,).
        num_experts: Number of experts (rows).
        num_slots: Number of slots in each row.
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
            num_experts: Number of experts.
        """
        chosen = torch.nn.functional.one_hot(expert, num_experts)  # (B, E)
        slot = (chosen.cumsum(dim=0) * chosen).sum(dim=1) - 1
        return cls(expert, slot, num_experts, int(chosen.sum(dim=0).max()))

    def pack(self, values: Tensor) -> Tensor:
        """Arranges (batch, ...) as (experts, slots, ...), with zeros in empty slots."""
        packed = values.new_zeros(self.num_experts, self.num_slots, *values.shape[1:])
        return packed.index_put((self.expert, self.slot), values)

    def unpack(self, packed: Tensor) -> Tensor:
        """Restores (batch, ...) from (experts, slots, ...)."""
        return packed[self.expert, self.slot]
