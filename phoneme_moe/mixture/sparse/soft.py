"""Soft mixture of experts: experts compute mixtures of frames instead of selected frames.

Legend: B batch, T frames, C channels, N real frames, E experts, S slots of each, W windows.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.routing import all_real
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext


class SoftFeedForward(nn.Module):
    """Every expert computes a few mixtures of frames, its slots (Soft MoE, Puigcerver et al. 2023).

    The input of a slot is weighted by a softmax over frames, and the output for a frame by a
    softmax over slots. There is no selection, so no frame is dropped and no expert dies. Slots mix
    the frames of a window, not of a whole utterance, so the cost of a frame does not depend on the
    length of the recording; windows are at fixed positions from its start.
    """

    offset: Tensor

    def __init__(
        self,
        experts: ExpertFeedForward,
        slots: int,
        window: int,
        *,
        shared: nn.Module | None = None,
        name: str = "experts",
    ) -> None:
        """Creates the layer with initial weights.

        Args:
            experts: The experts.
            slots: Slots of each expert in a window.
            window: Frames of a window.
            shared: Shared experts, which are always active.
            name: Name of the layer in reports.
        """
        super().__init__()
        self.name = name
        self.experts = experts
        self.slots = slots
        self.window = window
        self.shared = shared
        num_slots = experts.num_experts * slots
        self.directions = nn.Parameter(torch.randn(experts.num_features, num_slots))
        self.scale = nn.Parameter(torch.ones(()))
        # As in ``TokenChoice``: new experts start without weight.
        self.register_buffer("offset", torch.zeros(experts.num_experts))

    def forward(
        self, frames: Tensor, mask: Tensor | None = None, context: RouterContext | None = None
    ) -> tuple[Tensor, LayerRouting]:
        """As ``SparseFeedForward.forward``; data without time are windows of one row each."""
        override = None if context is None else context.override
        if override is not None and override.of_layer(self.name) is not None:
            raise InputError(
                f"layer {self.name}: a soft layer selects no experts, so its routing cannot "
                "be overridden; expected a layer in which each frame selects among all experts"
            )
        if frames.dim() == 2:
            rows = frames[:, None]
            output, routing = self._mix_windows(rows, all_real(rows), window=1)
            return output[:, 0], replace(routing, mask=routing.mask[:, 0])
        return self._mix_windows(frames, all_real(frames) if mask is None else mask, self.window)

    def _mix_windows(
        self, frames: Tensor, mask: Tensor, window: int
    ) -> tuple[Tensor, LayerRouting]:
        batch, num_frames, channels = frames.shape
        num_experts = self.experts.num_experts
        missing = (window - num_frames % window) % window
        padded = functional.pad(frames, (0, 0, 0, missing)).reshape(-1, window, channels)
        real = functional.pad(mask, (0, missing)).reshape(-1, window)
        used = real.any(dim=1).nonzero()[:, 0]
        windows, real = padded[used], real[used]  # (W, window, C)
        with torch.autocast(frames.device.type, enabled=False):
            unit = functional.normalize(windows.float(), dim=-1)
            directions = functional.normalize(self.directions.float(), dim=0)
            # Cosines are limited to -1..1; the learned scale allows a sharp softmax.
            scores = self.scale * math.sqrt(channels) * (unit @ directions)
            dispatch = scores.masked_fill(~real[..., None], -torch.inf).softmax(dim=1)
            offset = self.offset.repeat_interleave(self.slots)
            combine = (scores - offset).softmax(dim=2) * real[..., None]  # (W, window, E * S)
        slots = dispatch.transpose(1, 2).to(windows.dtype) @ windows  # (W, E * S, C)
        num_windows = windows.shape[0]  # not len(), which would be a constant in an ONNX file
        by_expert = slots.reshape(num_windows, num_experts, self.slots, channels)
        # Every expert has the same number of rows, which allows one batched product.
        outputs = self.experts.equal_groups(by_expert.permute(1, 0, 2, 3).flatten(1, 2))
        outputs = outputs.reshape(num_experts, num_windows, self.slots, channels)
        slot_outputs = outputs.permute(1, 0, 2, 3).flatten(1, 2)  # (W, E * S, C)
        mixture = combine.to(slot_outputs.dtype) @ slot_outputs
        output = mixture.new_zeros(padded.shape).index_copy(0, used, mixture)
        output = output.reshape(batch, -1, channels)[:, :num_frames]
        if self.shared is not None:
            output = output + self.shared(frames) * mask[..., None]
        shares = combine.reshape(num_windows, window, num_experts, self.slots).sum(dim=3)
        shares = shares[real]  # (N, E)
        rows = mask.flatten().nonzero()[:, 0]
        every = torch.arange(num_experts, device=frames.device)
        return output, LayerRouting(
            layer=self.name,
            mask=mask,
            rows=rows,
            assignment=Assignment(
                rows.repeat_interleave(num_experts), every.repeat(rows.shape[0]), shares.flatten()
            ),
            num_experts=num_experts,
            probabilities=shares,
            counts=shares.detach().sum(dim=0),
            dropped=frames.new_zeros(()),
            entropy=torch.special.entr(shares.detach()).sum(dim=-1).mean(),
        )

    def update_bias(self, counts: Tensor) -> None:
        """Does nothing: there is no selection to balance."""

    def reset_counts(self) -> None:
        """Does nothing: there are no counts."""
