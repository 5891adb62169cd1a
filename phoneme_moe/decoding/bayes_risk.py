"""Minimum Bayes risk decoding over the n-best list of a beam search.

The most probable sequence minimises the sentence error rate. The phoneme error rate is minimised by
the sequence with the smallest expected edit distance to all others (Stolcke, Koenig & Weintraub
1997; Goel & Byrne 2000, with n-best lists). Scores must be log probabilities, as for CTC-CRF; the
scores of CTC with a weighted n-gram are not, and do not benefit (benchmarks/notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.beam_search import Hypothesis


def average_nbest(nbest_lists: Sequence[Sequence[Hypothesis]]) -> list[Hypothesis]:
    """Averages the n-best lists of several passes over one utterance; returns the best first.

    The probability of a hypothesis is the mean of its probabilities in the lists, 0 in a list that
    does not contain it (cf. ROVER, Fiscus 1997, which votes on words).

    Args:
        nbest_lists: N-best list of each pass, as from ``beam_search``; not empty.

    Returns:
        The distinct hypotheses, as in the first list that contains them, with the logarithm of the
        mean probability as score.
    """
    first: dict[tuple[int, ...], Hypothesis] = {}
    scores: dict[tuple[int, ...], float] = {}
    for hypotheses in nbest_lists:
        total = np.logaddexp.reduce([h.score for h in hypotheses]) + np.log(len(nbest_lists))
        for hypothesis in hypotheses:
            first.setdefault(hypothesis.outputs, hypothesis)
            score = scores.get(hypothesis.outputs, -np.inf)
            scores[hypothesis.outputs] = float(np.logaddexp(score, hypothesis.score - total))
    averaged = [replace(hypothesis, score=scores[key]) for key, hypothesis in first.items()]
    return sorted(averaged, key=lambda hypothesis: -hypothesis.score)


def _probabilities(hypotheses: Sequence[Hypothesis]) -> NDArray[np.float64]:
    """Posterior probability of each hypothesis within the list."""
    scores = np.array([hypothesis.score for hypothesis in hypotheses])
    probabilities: NDArray[np.float64] = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return probabilities


def sort_by_bayes_risk(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Sorts an n-best list by expected edit distance, smallest first.

    The expectation is over the hypotheses of the list, with probabilities proportional to
    ``exp(score)``. Ties keep their order.

    Args:
        hypotheses: N-best list of one utterance, as from ``beam_search``.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    # One character per phoneme, so that many strings can be compared at once.
    texts = ["".join(map(chr, hypothesis.outputs)) for hypothesis in hypotheses]
    distances = cdist(texts, texts, scorer=Levenshtein.distance, dtype=np.uint16)
    risks = distances @ _probabilities(hypotheses)
    return [hypotheses[index] for index in np.argsort(risks, kind="stable")]
