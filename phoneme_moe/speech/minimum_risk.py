"""The reading with the fewest errors to be expected, among those of a beam search.

The likeliest sequence is the one that is right as a whole most often. What is counted are wrong
phonemes, and of those the reading has fewest that differs least, on average, from all readings
(Stolcke, Koenig & Weintraub 1997; Goel & Byrne 2000, with N-best lists). That asks for scores
that are logarithms of probabilities, as those of CTC-CRF are; CTC beside an n-gram with a weight
of its own gives none, and gains nothing here (benchmarks/notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phoneme_moe.speech.beam_search import Hypothesis


def by_expected_errors(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Readings, the one with the fewest errors to be expected first.

    Errors are counted against every reading (Levenshtein) as if it were what was said, with
    probabilities proportional to ``exp(score)``. Equal ones stay in the order that they came in.

    Args:
        hypotheses: Of one utterance, as ``beam_search`` gives them.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    scores = np.array([own.score for own in hypotheses])
    probabilities = np.exp(scores - scores.max())
    # As text: a character for each phoneme, which is compared many at a time.
    texts = ["".join(map(chr, own.outputs)) for own in hypotheses]
    distances = cdist(texts, texts, scorer=Levenshtein.distance, dtype=np.uint16)
    expected = distances @ (probabilities / probabilities.sum())
    return [hypotheses[place] for place in np.argsort(expected, kind="stable")]
