"""Experts that see mixtures of frames, so that nobody has to choose (Soft MoE).

Legend: B batch, T frames, C channels, N real frames, E experts, S slots of each, W windows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer_routing import CHOOSING, LayerRouting, RouterContext


class SoftFeedForward(nn.Module):
    """Every expert sees a few mixtures of frames, its slots (Soft MoE: Puigcerver et al. 2023).

    A slot is a softmax over frames, and a frame gets back a softmax over slots. Nothing is chosen,
    so nothing is dropped and no expert dies. Slots mix the frames of a window, not of a whole
    utterance, so that the cost of a frame does not depend on the length of the recording; the
    windows lie at fixed places from its start.
    """

    offset: Tensor

    def __init__(
        self,
        name: str,
        experts: ExpertFeedForward,
        num_features: int,
        slots: int,
        window: int,
        shared: nn.Module | None = None,
    ) -> None:
        """Plain sizes.

        Args:
            name: What the layer is called in reports.
            experts: All of one shape.
            num_features: Channels of a frame.
            slots: Of each expert in a window.
            window: Frames of a window.
            shared: Always on, beside the experts.
        """
        super().__init__()
        self.name = name
        self.experts = experts
        self.slots = slots
        self.window = window
        self.shared = shared
        self.directions = nn.Parameter(torch.randn(num_features, experts.num_experts * slots))
        self.scale = nn.Parameter(torch.ones(()))
        # As of ``TokenChoice``: what new experts give back counts nothing at first.
        self.register_buffer("offset", torch.zeros(experts.num_experts))

    def forward(
        self, frames: Tensor, mask: Tensor, surroundings: RouterContext
    ) -> tuple[Tensor, LayerRouting]:
        """What the experts make of the frames; as ``SparseFeedForward.forward``."""
        if surroundings.override is not None and surroundings.override.means(self.name):
            raise InputError(f"layer {self.name}: nobody is chosen in a soft layer; {CHOOSING}")
        batch, num_frames, channels = frames.shape
        missing = (self.window - num_frames % self.window) % self.window
        windows = functional.pad(frames, (0, 0, 0, missing)).reshape(-1, self.window, channels)
        real = functional.pad(mask, (0, missing)).reshape(-1, self.window)
        used = real.any(dim=1).nonzero()[:, 0]
        seen, real = windows[used], real[used]  # (W, window, C)
        with torch.autocast(frames.device.type, enabled=False):
            unit = functional.normalize(seen.float(), dim=-1)
            directions = functional.normalize(self.directions.float(), dim=0)
            # Cosines reach -1..1 only: the scale makes a softmax of them as sharp as it needs.
            scores = self.scale * math.sqrt(channels) * (unit @ directions)
            mixed = scores.masked_fill(~real[..., None], -torch.inf).softmax(dim=1)
            held_back = self.offset.repeat_interleave(self.slots)
            given = (scores - held_back).softmax(dim=2) * real[..., None]  # (W, window, E * S)
        slots = mixed.transpose(1, 2).to(seen.dtype) @ seen  # (W, E * S, C)
        num_experts = self.experts.num_experts
        apart = slots.reshape(seen.shape[0], num_experts, self.slots, channels)
        # Every expert has the same number of rows: one batched product.
        rows = apart.permute(1, 0, 2, 3).flatten(1, 2)  # (E, W * S, C)
        answers = self.experts.of_equal_groups(rows)
        answers = answers.reshape(num_experts, seen.shape[0], self.slots, channels)
        back = answers.permute(1, 0, 2, 3).flatten(1, 2)  # (W, E * S, C)
        mixture = given.to(back.dtype) @ back
        output = mixture.new_zeros(windows.shape).index_copy(0, used, mixture)
        output = output.reshape(batch, -1, channels)[:, :num_frames]
        if self.shared is not None:
            output = output + self.shared(frames) * mask[..., None]
        shares = given.reshape(given.shape[0], self.window, num_experts, self.slots).sum(dim=3)[
            real
        ]  # (N, E)
        index = mask.flatten().nonzero()[:, 0]
        everyone = torch.arange(num_experts, device=frames.device)
        return output, LayerRouting(
            self.name,
            mask,
            index,
            Assignment(
                index.repeat_interleave(num_experts),
                everyone.repeat(index.shape[0]),
                shares.flatten(),
            ),
            num_experts,
            shares,
            shares.detach().sum(dim=0),
            frames.new_zeros(()),
            torch.special.entr(shares.detach()).sum(dim=-1).mean(),
            frames.new_zeros(()),
        )

    def learn_from(self, counts: Tensor) -> None:
        """Nothing: who chooses nothing needs no balance."""

    def forget(self) -> None:
        """Nothing: there is nothing that is counted."""
