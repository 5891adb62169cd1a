"""Timing net: a small network beside the recogniser, for start and end times of phonemes.

A CTC model emits a phoneme in a frame or two, somewhere near it, and stacked frames are long. This
network sees single feature frames before stacking, so it cannot emit a phoneme before its start or
after its end; label priors keep it from being peaky (``decoding.label_priors``). It has no
influence on the recognised phonemes.

Legend: B batch, T frames, F features of a frame, P outputs with the blank first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phoneme_moe.decoding.label_priors import subtract_prior
from phoneme_moe.mixture.networks.tdnn import StackTDNN


class TimingNet(nn.Module):
    """Scores of the outputs in single feature frames, for forced alignment."""

    def __init__(
        self, num_features: int, num_outputs: int, width: int = 96, prior_scale: float = 1.0
    ) -> None:
        """Plain sizes; ``prior_scale`` is the power of the label prior."""
        super().__init__()
        self.width = width
        self.prior_scale = prior_scale
        self.network = StackTDNN(1, num_features, num_outputs, width, dilations=(), kernel=1)
        self.log_prior: Tensor
        self.register_buffer("log_prior", torch.full((num_outputs,), -1.0))

    def log_posteriors(self, features: Tensor, mask: Tensor) -> Tensor:
        """Shape (batch, frames, features) to (batch, frames, outputs), natural logarithms."""
        return torch.log_softmax(self.network(features[None], mask[None])[0], dim=-1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Log posteriors less the label prior, shape (batch, frames, outputs)."""
        return subtract_prior(self.log_posteriors(features, mask), self.log_prior, self.prior_scale)
