"""Timing net: a small network beside the recogniser, for start and end times of phonemes.

A CTC model emits a phoneme in one or two frames near its true position, and stacked frames are
long. The input of this network is single feature frames, so it cannot emit a phoneme before its
start or after its end; label priors prevent peaky outputs (``decoding.label_priors``). It does not
affect the recognised phonemes.

Legend: B batch, T frames, F features of a frame, P outputs with the blank first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phoneme_moe.decoding.label_priors import subtract_prior
from phoneme_moe.mixture.networks.tdnn import StackTDNN


class TimingNet(nn.Module):
    """Computes output scores for single feature frames, for forced alignment."""

    def __init__(
        self, num_features: int, num_outputs: int, width: int = 96, prior_scale: float = 1.0
    ) -> None:
        """Creates the layers; ``prior_scale`` is the exponent of the label prior."""
        super().__init__()
        self.width = width
        self.prior_scale = prior_scale
        self.network = StackTDNN(1, num_features, num_outputs, width, dilations=(), kernel=1)
        self.log_prior: Tensor
        self.register_buffer("log_prior", torch.full((num_outputs,), -1.0))

    def log_posteriors(self, features: Tensor, mask: Tensor) -> Tensor:
        """Maps (batch, frames, features) to log posteriors, shape (batch, frames, outputs)."""
        return torch.log_softmax(self.network(features[None], mask[None])[0], dim=-1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Log posteriors minus the scaled log prior, shape (batch, frames, outputs)."""
        return subtract_prior(self.log_posteriors(features, mask), self.log_prior, self.prior_scale)
