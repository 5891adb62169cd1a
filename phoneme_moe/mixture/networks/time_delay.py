"""Building blocks of time-delay networks: frame splicing and a linear map for each expert.

Legend: E experts, S utterances (slots) of each expert, T frames, C channels, P outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def splice(frames: Tensor, window: int, dilation: int = 1, padding: bool = True) -> Tensor:
    """Concatenates each frame with its neighbours.

    Args:
        frames: Shape (..., frames, channels).
        window: Number of frames to concatenate.
        dilation: Step between them in frames.
        padding: Whether zeros beyond the ends keep the number of frames; otherwise only complete
            windows are returned.

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
    """A linear map for each expert, computed in one batched product."""

    def __init__(self, num_experts: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        bound = num_inputs**-0.5
        self.weight = nn.Parameter(
            torch.empty(num_experts, num_inputs, num_outputs).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(num_experts, 1, num_outputs).uniform_(-bound, bound))

    @property
    def num_experts(self) -> int:
        """Number of independent maps."""
        return len(self.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies the map of each expert to its inputs.

        Args:
            inputs: Shape (experts, slots, frames, inputs); or (1, slots, frames, inputs) when all
                experts have the same inputs.

        Returns:
            Shape (experts, slots, frames, outputs).
        """
        experts, slots, frames, channels = inputs.shape
        num_experts, _, num_outputs = self.weight.shape
        flat = inputs.reshape(experts, slots * frames, channels)
        if experts != num_experts:
            # One product with the columns of all experts reads the shared input once, without a
            # copy.
            columns = self.weight.transpose(0, 1).reshape(channels, num_experts * num_outputs)
            mapped = (flat[0] @ columns).reshape(slots * frames, num_experts, num_outputs)
            outputs = mapped.transpose(0, 1) + self.bias
        else:
            outputs = torch.baddbmm(self.bias, flat, self.weight)
        return outputs.reshape(num_experts, slots, frames, num_outputs)
