"""What training minimises: the phoneme error, as a differentiable loss.

Both take the mixture's log posteriors, so that a gate learns through the blend of the experts'
probabilities (Meta-Pi: Hampshire & Waibel 1989), never from a speaker label.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from phoneme_moe.speech.phonemes import BLANK
from phoneme_moe.training.data import Batch


def cross_entropy(log_posteriors: Tensor, mask: Tensor, batch: Batch) -> Tensor:
    """Mean negative log posterior of each token's phoneme.

    Args:
        log_posteriors: Shape (batch, 1, outputs).
        mask: Shape (batch, 1); a token has no padding.
        batch: Its targets, one each.
    """
    return functional.nll_loss(log_posteriors[:, 0], batch.targets[:, 0])


def ctc(log_posteriors: Tensor, mask: Tensor, batch: Batch) -> Tensor:
    """Mean negative log probability of the phoneme sequence, per phoneme (Graves et al. 2006).

    Args:
        log_posteriors: Shape (batch, frames, outputs), blank first.
        mask: Real frames, shape (batch, frames).
        batch: Its targets and their lengths.
    """
    return functional.ctc_loss(
        log_posteriors.transpose(0, 1),
        batch.targets,
        mask.sum(dim=1),
        batch.target_lengths,
        blank=BLANK,
        # An utterance with more phonemes than frames has no path; it teaches nothing.
        zero_infinity=True,
    )


OBJECTIVES = {"classify": cross_entropy, "recognize": ctc}
