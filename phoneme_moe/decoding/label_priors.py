"""CTC with label priors, for accurate phoneme times from alignments.

Plain CTC is peaky: it emits a phoneme in one or two frames and blanks elsewhere, so alignments do
not show when a phoneme begins and ends. Dividing each output by a power of its prior removes the
advantage of the blank, and phonemes extend over their duration (Zeyer et al. 2021; Huang et al.
2024, "Less peaky and more accurate CTC forced alignment by label priors").

Legend: B batch, T frames, P outputs with the blank first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.phonemes import BLANK


def subtract_prior(log_posteriors: Tensor, log_prior: Tensor, scale: float) -> Tensor:
    """Subtracts the scaled label prior: ``log p - scale * log prior``.

    Args:
        log_posteriors: Log posteriors, shape (..., outputs).
        log_prior: Logarithm of the prior probability of each output, shape (outputs,).
        scale: Exponent of the prior; 0 for no prior.
    """
    return log_posteriors - scale * log_prior


def unnormalized_ctc_loss(
    scores: Tensor, num_frames: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """CTC loss of unnormalised scores.

    ``-log`` of the sum over alignments of the product of ``exp(scores)``. The gradient of torch's
    ``ctc_loss`` is correct for normalised scores only, so the scores are normalised first and the
    normalisers added back.

    Args:
        scores: Shape (batch, frames, outputs), blank first.
        num_frames: Real frames of each utterance, shape (batch,).
        targets: Phonemes as output indices, shape (batch, longest).
        target_lengths: Number of phonemes of each utterance, shape (batch,).

    Returns:
        Shape (batch,); may be negative, and infinite if there are too few frames for the phonemes.
    """
    normaliser = scores.logsumexp(dim=-1)  # (B, T)
    real = torch.arange(scores.shape[1]) < num_frames[:, None]
    normalised = functional.ctc_loss(
        (scores - normaliser[..., None]).transpose(0, 1),
        targets,
        num_frames,
        target_lengths,
        blank=BLANK,
        reduction="none",
    )
    return normalised - (normaliser * real).sum(dim=1)
