"""Effect size of information: the share of the bits that routing could carry.

With many rows the least dependence is significant, so every p of information stands beside this
share.

Legend: S speakers, P phonemes, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def possible_bits(
    speaker_rows: Sequence[int], speaker_phoneme_rows: ArrayLike, num_experts: int
) -> Mapping[str, float]:
    """Upper bound of each kind of mutual information in bits, by the name of its test.

    Routing cannot tell more about the speaker than there is to know, the entropy of the speakers,
    nor more than the number of experts allows: ``I(E; S) <= min(H(S), log2 E)``, and the same with
    phonemes or given the phoneme (Cover and Thomas, *Elements of Information Theory*, 2.4).

    Args:
        speaker_rows: Number of rows of each speaker.
        speaker_phoneme_rows: Number of rows, shape (speakers, phonemes); P may be 0.
        num_experts: Number of experts, at least 1.
    """
    pairs = np.asarray(speaker_phoneme_rows, dtype=float).reshape(len(speaker_rows), -1)
    by_phoneme = pairs.sum(axis=0)
    given = np.array([_entropy(column) for column in pairs.T])
    entropies = {
        "speaker_information": _entropy(np.asarray(speaker_rows, dtype=float)),
        "phoneme_information": _entropy(by_phoneme),
        "speaker_beyond_phonemes": float(given @ by_phoneme) / max(by_phoneme.sum(), 1.0),
    }
    return {name: min(entropy, float(np.log2(num_experts))) for name, entropy in entropies.items()}


def _entropy(counts: NDArray[np.float64]) -> float:
    """Entropy of counts in bits; 0 without counts."""
    share = counts[counts > 0] / max(counts.sum(), 1.0)
    return float(-(share * np.log2(share)).sum())
