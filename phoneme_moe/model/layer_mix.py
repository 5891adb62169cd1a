"""A trainable mix of the hidden states of a pretrained encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerMix(nn.Module):
    """Weighted sum of normalised hidden states, with softmax weights.

    The layers of an encoder serve different tasks, phonemes those in the middle (SUPERB: Yang et
    al. 2021). Each state is normalised first, since their scales differ.
    """

    def __init__(self, num_states: int) -> None:
        """Starts with equal weights.

        Args:
            num_states: Number of hidden states of a frame.
        """
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(num_states))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Mixes the states of every frame.

        Args:
            features: Hidden states side by side, shape (batch, frames, states * hidden).
            mask: True for real frames, shape (batch, frames).

        Returns:
            Shape (batch, frames, hidden), zero where masked.
        """
        hidden = int(features.shape[-1]) // len(self.scores)  # a constant to ONNX
        states = features.reshape(*features.shape[:2], len(self.scores), hidden)
        normed = functional.layer_norm(states, [hidden])
        mixed = torch.einsum("s,btsh->bth", self.scores.softmax(0), normed)
        # Not in the lower precision of products, which is too coarse to interpolate.
        return mixed.float() * mask[..., None]
