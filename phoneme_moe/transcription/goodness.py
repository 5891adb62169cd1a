"""Goodness of pronunciation: how much better a phoneme fits than any other in its place.

Legend: T frames of posteriors, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.viterbi import Spans, share_gaps

NEIGHBOURS = 4
"""Neighbours on either side of a phoneme whose frames its goodness also includes."""


def goodness_of_pronunciation(
    log_posteriors: Tensor,
    outputs: Sequence[int],
    spans: Spans,
    places: Sequence[int] | None = None,
) -> tuple[list[float], list[int]]:
    """How much better each phoneme fits than any alternative (another phoneme, or none).

    ``log P(phonemes) - max log P(phonemes with the alternative)``, where likelihoods are summed
    over all alignments within the frames of the phoneme and its nearest neighbours.

    Args:
        log_posteriors: Log posteriors, shape (frames, outputs).
        outputs: Output indices of the phonemes.
        spans: First frame of each phoneme and the frame after its last, shape (phonemes, 2).
        places: Indices of the phonemes to judge; all of them by default.

    Returns:
        The goodness of each of these phonemes, and the output that fits best in its place (the
        blank for none).
    """
    goodness, best = [], []
    shared = share_gaps(spans)
    num_outputs = log_posteriors.shape[1]
    for index in range(len(outputs)) if places is None else places:
        output = outputs[index]
        first, last = max(0, index - NEIGHBOURS), min(len(outputs), index + NEIGHBOURS + 1)
        begin = 0 if first == 0 else int(shared[first, 0])
        end = len(log_posteriors) if last == len(outputs) else int(shared[last - 1, 1])
        before, after = list(outputs[first:index]), list(outputs[index + 1 : last])
        sequences = [
            [*before, *([other] if other != BLANK else []), *after] for other in range(num_outputs)
        ]
        likelihoods = log_likelihoods(log_posteriors[begin:end], sequences)
        best.append(int(likelihoods.argmax()))
        likelihood = float(likelihoods[output])
        likelihoods[output] = -torch.inf
        goodness.append(likelihood - float(likelihoods.max()))
    return goodness, best


def log_likelihoods(log_posteriors: Tensor, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Log likelihood of each sequence over all alignments; ``-inf`` if it needs more frames."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    targets = torch.zeros(len(sequences), max(1, int(lengths.max())), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        targets[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    frames = torch.full((len(sequences),), len(log_posteriors))
    repeated = log_posteriors[:, None].expand(-1, len(sequences), -1)
    return -functional.ctc_loss(repeated, targets, frames, lengths, blank=BLANK, reduction="none")
