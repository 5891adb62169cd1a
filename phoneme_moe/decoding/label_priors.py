"""When each phoneme begins: CTC with label priors, and forced alignment.

Plain CTC learns to emit a phoneme in a frame or two and blanks elsewhere: its peaks say what was
said, and poorly when. Where every output is divided by a power of how common it is, blanks lose
that advantage and phonemes fill their time (Zeyer et al. 2021; Huang et al. 2024, "Less peaky and
more accurate CTC forced alignment by label priors").

Legend: B batch, T frames, P outputs with the blank first.
"""

from __future__ import annotations

import torch
import torchaudio.functional
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import min_num_frames


def subtract_prior(log_posteriors: Tensor, log_prior: Tensor, scale: float) -> Tensor:
    """Scores that do not favour what is common: ``log p - scale * log prior``.

    Args:
        log_posteriors: Shape (..., outputs).
        log_prior: Logarithm of how common each output is, shape (outputs,).
        scale: 0 leaves the posteriors as they are.
    """
    return log_posteriors - scale * log_prior


def unnormalized_ctc_loss(
    scores: Tensor, num_frames: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """CTC of scores that need not be logarithms of probabilities.

    ``-log`` of the sum over alignments of the product of ``exp(scores)``. Torch's own loss has a
    right gradient for normalised scores only, so they are normalised and the normalisers put back.

    Args:
        scores: Shape (batch, frames, outputs), blank first.
        num_frames: Real frames of each, shape (batch,).
        targets: Phonemes, shape (batch, longest).
        target_lengths: How many of them are real, shape (batch,).

    Returns:
        Shape (batch,); may be negative. Infinite where the phonemes need more frames.
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


def align(scores: Tensor, targets: Tensor) -> list[tuple[int, int]]:
    """The frames of each phoneme in the best alignment.

    A gap of blanks between two phonemes is divided in halves, the odd frame to the first; blanks
    before the first phoneme and after the last one are nobody's.

    Args:
        scores: Of one utterance, shape (frames, outputs), blank first.
        targets: Its phonemes, shape (phonemes,).

    Returns:
        First frame of each phoneme and the one after its last, in order and without overlap.

    Raises:
        ValueError: The phonemes need more frames than there are.
    """
    if len(scores) < min_num_frames(targets.tolist()):
        raise ValueError(
            f"{len(scores)} frames are too few for {len(targets)} phonemes, which need "
            f"{min_num_frames(targets.tolist())}"
        )
    if not len(targets):
        return []
    path, _ = torchaudio.functional.forced_align(scores[None], targets[None].int(), blank=BLANK)
    symbols, counts = torch.unique_consecutive(path[0], return_counts=True)
    ends = counts.cumsum(dim=0)
    spoken = symbols != BLANK
    starts, ends = (ends - counts)[spoken].tolist(), ends[spoken].tolist()
    for k in range(len(starts) - 1):
        middle = (ends[k] + starts[k + 1] + 1) // 2
        ends[k] = starts[k + 1] = middle
    return list(zip(starts, ends, strict=True))
