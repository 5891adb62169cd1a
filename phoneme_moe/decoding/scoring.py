"""Phoneme error rate: edit alignment, errors by type, bootstrap intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 1000


def align_phonemes(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[int | None, int | None]]:
    """Aligns a hypothesis with its reference with the fewest errors (Levenshtein).

    Args:
        reference: Reference phonemes.
        hypothesis: Recognised phonemes.

    Returns:
        Pairs of indices in reference and hypothesis, in order; ``(index, None)`` for a deletion,
        ``(None, index)`` for an insertion.
    """
    if not reference or not hypothesis or list(reference) == list(hypothesis):
        return list(zip_longest(range(len(reference)), range(len(hypothesis))))
    import jiwer

    pairs: list[tuple[int | None, int | None]] = []
    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    for chunk in output.alignments[0]:
        # The empty side of a deletion or insertion has no indices and is padded with None.
        of_reference = range(chunk.ref_start_idx, chunk.ref_end_idx)
        of_hypothesis = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        pairs += zip_longest(of_reference, of_hypothesis)
    return pairs


@dataclass(frozen=True)
class UtteranceScore:
    """Errors in one utterance.

    Attributes:
        substitutions: Number of substituted phonemes.
        insertions: Number of inserted phonemes.
        deletions: Number of deleted phonemes.
        num_reference: Number of phonemes in the reference.
        confusions: ``(reference, hypothesis)`` phonemes of each substitution.
    """

    substitutions: int
    insertions: int
    deletions: int
    num_reference: int
    confusions: tuple[tuple[str, str], ...] = ()

    @property
    def errors(self) -> int:
        """Total number of substitutions, insertions and deletions."""
        return self.substitutions + self.insertions + self.deletions


def score_utterance(reference: Sequence[str], hypothesis: Sequence[str]) -> UtteranceScore:
    """Counts the errors of a hypothesis in its alignment with the reference.

    Args:
        reference: Reference phonemes.
        hypothesis: Recognised phonemes.
    """
    confusions = []
    insertions = deletions = 0
    for r, h in align_phonemes(reference, hypothesis):
        if r is None:
            insertions += 1
        elif h is None:
            deletions += 1
        elif reference[r] != hypothesis[h]:
            confusions.append((reference[r], hypothesis[h]))
    return UtteranceScore(len(confusions), insertions, deletions, len(reference), tuple(confusions))


def correct_phonemes(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """Determines which phonemes of a hypothesis match the reference in the alignment.

    Args:
        reference: Reference phonemes.
        hypothesis: Recognised phonemes.

    Returns:
        One value for each phoneme of the hypothesis.
    """
    return [
        r is not None and reference[r] == hypothesis[h]
        for r, h in align_phonemes(reference, hypothesis)
        if h is not None
    ]


@dataclass(frozen=True)
class Score:
    """Error rate and error counts over many utterances.

    Attributes:
        error_rate: Errors divided by reference phonemes; a fraction, above 1 with many insertions.
        interval: 95 % confidence interval of the error rate, by bootstrap over utterances.
        substitutions: Number of substituted phonemes.
        insertions: Number of inserted phonemes.
        deletions: Number of deleted phonemes.
        num_reference: Number of phonemes in the references.
        num_utterances: Number of utterances.
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
    """Sums the errors of utterances, with a bootstrap confidence interval.

    Frames and phonemes of an utterance are not independent, so whole utterances are resampled
    (Bisani & Ney 2004).

    Args:
        scores: Scores of the utterances; at least one.
        num_confusions: Number of the most frequent substitutions to keep.
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
    """Difference of two error rates on the same utterances.

    Attributes:
        difference: The second rate minus the first, as a fraction.
        interval: 95 % confidence interval, by paired bootstrap over utterances.
        p: Two-sided p-value of the difference.
    """

    difference: float
    interval: tuple[float, float]
    p: float


def paired_difference(
    before: Sequence[UtteranceScore], after: Sequence[UtteranceScore]
) -> PairedDifference:
    """Tests the difference of two error rates by paired bootstrap (Bisani & Ney 2004).

    Args:
        before: First scores, one for each utterance.
        after: Second scores, for the same utterances in the same order.
    """
    more = np.array([b.errors - a.errors for a, b in zip(before, after, strict=True)])
    lengths = np.array([score.num_reference for score in before])
    difference = float(more.sum() / max(lengths.sum(), 1))
    generator = np.random.default_rng(0)
    size = 10 * BOOTSTRAP_DRAWS
    counts = generator.multinomial(len(more), np.full(len(more), 1 / len(more)), size=size)
    rates = (counts @ more) / np.maximum(counts @ lengths, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    if low == high:
        # All utterances change alike, or there is one: a sign test over those that change.
        p = min(1.0, 2.0 * 0.5 ** int((more != 0).sum()))
        return PairedDifference(difference, exact_difference(more, lengths), p)
    # Samples without a difference count half for either side.
    below = (rates < 0).mean() + (rates == 0).mean() / 2
    p = min(1.0, 2 * float(min(below, 1 - below)) + 1 / size)
    return PairedDifference(difference, (float(low), float(high)), p)


def bootstrap_interval(
    numerators: NDArray[np.int64], denominators: NDArray[np.int64]
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a ratio of sums over utterances.

    Where all utterances have the same ratio (no error at all, errors only, a single utterance),
    resampling shows no variation, and the interval is ``exact_interval``.

    Args:
        numerators: One for each utterance, shape (utterances,).
        denominators: One for each utterance, shape (utterances,).
    """
    generator = np.random.default_rng(0)
    counts = generator.multinomial(
        len(numerators), np.full(len(numerators), 1 / len(numerators)), size=BOOTSTRAP_DRAWS
    )
    rates = (counts @ numerators) / np.maximum(counts @ denominators, 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    if low == high:
        return exact_interval(int(numerators.sum()), int(denominators.sum()))
    return float(low), float(high)


def exact_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a rate from the counts alone, as if phonemes were independent.

    Clopper and Pearson, "The use of confidence or fiducial limits" (1934); beyond one error per
    phoneme, which insertions allow, that of a Poisson count (Garwood 1936).

    Args:
        count: Number of errors.
        total: Number of phonemes; without any, the interval is 0 to 1.
    """
    # Imported here, since it is rarely needed.
    from scipy.special import betaincinv, gammaincinv

    if total == 0:
        return 0.0, max(1.0, float(count))
    if count > total:
        return (
            float(gammaincinv(count, 0.025)) / total,
            float(gammaincinv(count + 1, 0.975)) / total,
        )
    low = float(betaincinv(count, total - count + 1, 0.025)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 0.975)) if count < total else 1.0
    return low, high


def exact_difference(more: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[float, float]:
    """95 % interval of a difference of rates from the counts alone.

    The interval of the rate of added errors minus that of the errors removed, each exact.

    Args:
        more: Change of the number of errors of each utterance, shape (utterances,).
        lengths: Number of phonemes of each utterance, shape (utterances,).
    """
    total = int(lengths.sum())
    added = exact_interval(int(more.clip(min=0).sum()), total)
    removed = exact_interval(int((-more).clip(min=0).sum()), total)
    return added[0] - removed[1], added[1] - removed[0]
