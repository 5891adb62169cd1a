"""Parts of every time-delay network: joined frames, and a linear map for each expert.

A TDNN layer joins each frame with its neighbours (``splice``) and maps the result linearly.
Every network holds ``num_experts`` independent copies whose maps are batched into one product.

Legend: E experts, S utterances (slots) of each, T frames, C channels, P outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def splice(frames: Tensor, window: int, dilation: int = 1, padding: bool = True) -> Tensor:
    """Joins each frame with its neighbours.

    Args:
        frames: Shape (..., frames, channels).
        window: Frames to join.
        dilation: Step between them.
        padding: Keep the number of frames by zeros beyond the ends; else only whole windows.

    Returns:
        Shape (..., frames, window * channels), earliest neighbour first.
    """
    reach = dilation * (window - 1)
    if padding:
        frames = functional.pad(frames, (0, 0, reach // 2, reach - reach // 2))
    num_frames = frames.shape[-2] - reach
    neighbours = [frames.narrow(-2, i * dilation, num_frames) for i in range(window)]
    return torch.cat(neighbours, dim=-1)


class ExpertLinear(nn.Module):
    """A linear map for each expert, all in one batched product."""

    def __init__(self, num_experts: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        bound = num_inputs**-0.5
        self.weight = nn.Parameter(
            torch.empty(num_experts, num_inputs, num_outputs).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(num_experts, 1, num_outputs).uniform_(-bound, bound))

    @property
    def num_experts(self) -> int:
        """Independent maps."""
        return len(self.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps the inputs of each expert.

        Args:
            inputs: Shape (experts, slots, frames, inputs); or (1, slots, frames, inputs), the same
                for all experts.

        Returns:
            Shape (experts, slots, frames, outputs).
        """
        experts, slots, frames, channels = inputs.shape
        num_experts, _, num_outputs = self.weight.shape
        flat = inputs.reshape(experts, slots * frames, channels)
        if experts != num_experts:
            # One product over all experts' columns: the shared input is read once, not copied.
            columns = self.weight.transpose(0, 1).reshape(channels, num_experts * num_outputs)
            mapped = (flat[0] @ columns).reshape(slots * frames, num_experts, num_outputs)
            outputs = mapped.transpose(0, 1) + self.bias
        else:
            outputs = torch.baddbmm(self.bias, flat, self.weight)
        return outputs.reshape(num_experts, slots, frames, num_outputs)
