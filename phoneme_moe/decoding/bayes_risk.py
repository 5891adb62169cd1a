"""The reading with the fewest errors to be expected, among those of a beam search.

The likeliest sequence is the one that is right as a whole most often. What is counted are wrong
phonemes, and of those the reading has fewest that differs least, on average, from all readings
(Stolcke, Koenig & Weintraub 1997; Goel & Byrne 2000, with N-best lists). That asks for scores
that are logarithms of probabilities, as those of CTC-CRF are; CTC beside an n-gram with a weight
of its own gives none, and gains nothing here (benchmarks/notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.beam_search import Hypothesis


def average_nbest(groups: Sequence[Sequence[Hypothesis]]) -> list[Hypothesis]:
    """Readings by several hearings of one utterance, which count equally; the likeliest first.

    A reading's probability is the mean of its probabilities among the readings of each hearing, 0
    where a search did not keep it (a mixture; cf. ROVER, Fiscus 1997, which votes on phonemes).

    Args:
        groups: Of each hearing, as ``beam_search`` gives them; no group is empty.

    Returns:
        Each reading once, as the first group that has it gives it, but for its score: the logarithm
        of that mean.
    """
    first: dict[tuple[int, ...], Hypothesis] = {}
    scores: dict[tuple[int, ...], float] = {}
    for group in groups:
        total = np.logaddexp.reduce([own.score for own in group]) + np.log(len(groups))
        for own in group:
            first.setdefault(own.outputs, own)
            so_far = scores.get(own.outputs, -np.inf)
            scores[own.outputs] = float(np.logaddexp(so_far, own.score - total))
    pooled = [replace(own, score=scores[outputs]) for outputs, own in first.items()]
    return sorted(pooled, key=lambda own: -own.score)


def _shares(hypotheses: Sequence[Hypothesis]) -> NDArray[np.float64]:
    """Probability of each among them."""
    scores = np.array([own.score for own in hypotheses])
    probabilities: NDArray[np.float64] = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return probabilities


def sort_by_bayes_risk(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Readings, the one with the fewest errors to be expected first.

    Errors are counted against every reading (Levenshtein) as if it were what was said, with
    probabilities proportional to ``exp(score)``. Equal ones stay in the order that they came in.

    Args:
        hypotheses: Of one utterance, as ``beam_search`` gives them.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    # As text: a character for each phoneme, which is compared many at a time.
    texts = ["".join(map(chr, own.outputs)) for own in hypotheses]
    distances = cdist(texts, texts, scorer=Levenshtein.distance, dtype=np.uint16)
    expected = distances @ _shares(hypotheses)
    return [hypotheses[place] for place in np.argsort(expected, kind="stable")]
