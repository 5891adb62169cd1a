"""Phoneme error rate, who errs how, and how sure the figure is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 1000


@dataclass(frozen=True)
class UtteranceScore:
    """Errors in one utterance.

    Attributes:
        substitutions: Phonemes taken for another.
        insertions: Phonemes heard where there is none.
        deletions: Phonemes missed.
        num_reference: Phonemes of the reference.
        confusions: ``(reference, hypothesis)`` of each substitution.
    """

    substitutions: int
    insertions: int
    deletions: int
    num_reference: int
    confusions: tuple[tuple[str, str], ...] = ()

    @property
    def errors(self) -> int:
        """All errors."""
        return self.substitutions + self.insertions + self.deletions


def score_utterance(reference: Sequence[str], hypothesis: Sequence[str]) -> UtteranceScore:
    """Aligns a hypothesis with its reference at the fewest errors (Levenshtein).

    Args:
        reference: Phonemes that were spoken.
        hypothesis: Phonemes that were recognised.
    """
    if not reference:
        return UtteranceScore(0, len(hypothesis), 0, 0)
    if not hypothesis:
        return UtteranceScore(0, 0, len(reference), len(reference))
    if list(reference) == list(hypothesis):
        return UtteranceScore(0, 0, 0, len(reference))
    import jiwer

    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    confusions = [
        pair
        for chunk in output.alignments[0]
        if chunk.type == "substitute"
        for pair in zip(
            reference[chunk.ref_start_idx : chunk.ref_end_idx],
            hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx],
            strict=True,
        )
    ]
    return UtteranceScore(
        output.substitutions,
        output.insertions,
        output.deletions,
        len(reference),
        tuple(confusions),
    )


def correct_phonemes(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """Which phonemes of a hypothesis were really said, by the same alignment.

    Args:
        reference: Phonemes that were spoken.
        hypothesis: Phonemes that were recognised.

    Returns:
        Of each phoneme of the hypothesis.
    """
    if list(reference) == list(hypothesis):
        return [True] * len(hypothesis)
    correct = [False] * len(hypothesis)
    if reference and hypothesis:
        import jiwer

        output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        for chunk in output.alignments[0]:
            if chunk.type == "equal":
                for index in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                    correct[index] = True
    return correct


@dataclass(frozen=True)
class Score:
    """Errors over many utterances.

    Attributes:
        error_rate: Errors over reference phonemes; a fraction, above 1 where insertions abound.
        interval: 95 % interval of the error rate, bootstrap over utterances.
        substitutions: Phonemes taken for another.
        insertions: Phonemes heard where there is none.
        deletions: Phonemes missed.
        num_reference: Phonemes of the references.
        num_utterances: Utterances scored.
        confusions: The most frequent substitutions, ``(reference, hypothesis, count)``.
    """

    error_rate: float
    interval: tuple[float, float]
    substitutions: int
    insertions: int
    deletions: int
    num_reference: int
    num_utterances: int
    confusions: tuple[tuple[str, str, int], ...]


def total_score(scores: Sequence[UtteranceScore], *, num_confusions: int = 20) -> Score:
    """Sums the errors of utterances, with a bootstrap interval.

    Frames and phonemes of an utterance are not independent, so utterances are what is drawn
    (Bisani & Ney 2004).

    Args:
        scores: One for each utterance; at least one.
        num_confusions: How many of the most frequent substitutions to keep.
    """
    errors = np.array([score.errors for score in scores])
    lengths = np.array([score.num_reference for score in scores])
    confusions = Counter(pair for score in scores for pair in score.confusions)
    ranked = sorted(confusions.items(), key=lambda item: (-item[1], item[0]))
    return Score(
        error_rate=float(errors.sum() / max(lengths.sum(), 1)),
        interval=bootstrap_interval(errors, lengths),
        substitutions=sum(score.substitutions for score in scores),
        insertions=sum(score.insertions for score in scores),
        deletions=sum(score.deletions for score in scores),
        num_reference=int(lengths.sum()),
        num_utterances=len(scores),
        confusions=tuple((r, h, n) for (r, h), n in ranked[:num_confusions]),
    )


@dataclass(frozen=True)
class PairedDifference:
    """How an error rate changes from one way of recognising the same utterances to another.

    Attributes:
        difference: The second rate less the first, as a fraction.
        interval: 95 % interval of it, paired bootstrap over utterances.
        p: Two-sided probability of a difference as great as this by chance.
    """

    difference: float
    interval: tuple[float, float]
    p: float


def paired_difference(
    before: Sequence[UtteranceScore], after: Sequence[UtteranceScore]
) -> PairedDifference:
    """Compares two recognitions of the same utterances (Bisani & Ney 2004).

    Args:
        before: One for each utterance.
        after: Of the same utterances in the same order.
    """
    more = np.array([b.errors - a.errors for a, b in zip(before, after, strict=True)])
    lengths = np.array([score.num_reference for score in before])
    generator = np.random.default_rng(0)
    size = 10 * BOOTSTRAP_DRAWS
    counts = generator.multinomial(len(more), np.full(len(more), 1 / len(more)), size=size)
    rates = (counts @ more) / np.maximum(counts @ lengths, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    # Both sides count half where the difference is exactly none.
    below = (rates < 0).mean() + (rates == 0).mean() / 2
    p = min(1.0, 2 * float(min(below, 1 - below)) + 1 / size)
    return PairedDifference(float(more.sum() / max(lengths.sum(), 1)), (float(low), float(high)), p)


def bootstrap_interval(
    numerators: NDArray[np.int64], denominators: NDArray[np.int64]
) -> tuple[float, float]:
    """95 % interval of a ratio of sums, drawing utterances with replacement (percentile method).

    Args:
        numerators: Of each utterance, shape (utterances,).
        denominators: Of each utterance, shape (utterances,).
    """
    generator = np.random.default_rng(0)
    counts = generator.multinomial(
        len(numerators), np.full(len(numerators), 1 / len(numerators)), size=BOOTSTRAP_DRAWS
    )
    rates = (counts @ numerators) / np.maximum(counts @ denominators, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)
