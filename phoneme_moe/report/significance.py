"""Permutation tests over whole utterances, with control of the false discovery rate.

The rows of an utterance depend on each other, so labels are exchanged between utterances (speakers)
or inside them (phonemes), never between single rows. Two null hypotheses:

* speakers: utterances are assigned to the speakers at random, keeping the number of each speaker.
  All dependence within an utterance is preserved, and so are its phonemes. Used for all statistics
  of speakers, including the interaction, so that its chance level includes the effect of phonemes.
* phonemes: the mean weights of the phonemes are permuted within each utterance. This preserves the
  frequency of each phoneme and everything that the rows of an utterance have in common. An
  utterance with a single phoneme (such as a token) is permuted with other such utterances of the
  same speaker. Means over few rows, which vary more, may replace means over many, so the test is
  conservative.

p is ``(1 + number of draws at least as great) / (1 + draws)``, never 0 (Phipson and Smyth,
"Permutation p-values should never be zero", 2010); tests are one-sided, since chance can only
increase these statistics.

Legend: U utterances, P phonemes, E experts, S speakers, B pairs of utterance and phoneme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from phoneme_moe.report.information import (
    conditional_information,
    cramers_v,
    mutual_information,
)
from phoneme_moe.report.routing_sums import Counts, Floats, Masses, RoutingSums

#: Maximum number of utterances, chosen at random, in tests that involve phonemes.
MOST_UTTERANCES = 5_000
#: False discovery rate at which a test is significant.
FALSE_DISCOVERIES = 0.05
#: Limit of masses that one test adds up, the cost of a logarithm in masses, and the minimum number
#: of draws; very large tables get fewer draws.
_WORK, _LOGARITHM, _LEAST_DRAWS = 1.5e10, 6, 199
#: Tolerance (bits, or fraction) within which a draw counts as equal to the observed value.
_TIE = 1e-6


@dataclass(frozen=True)
class SignificanceTest:
    """One statistic of a report compared with chance.

    Attributes:
        name: ``speaker_information``, ``phoneme_information``, ``speaker_beyond_phonemes``,
            ``interaction``, ``cramers_v`` or ``own_share``.
        scope: The speaker to which it applies; None for all.
        value: The uncorrected statistic.
        chance: Its mean under permutation.
        unit: ``bits``, or empty for a share.
        p: Probability under permutation of a value at least as great.
        draws: Number of permutations.
        q: False discovery rate among the tests of the report with at most this p.
    """

    name: str
    scope: str | None
    value: float
    chance: float
    unit: str
    p: float
    draws: int
    q: float

    @property
    def corrected(self) -> float:
        """The statistic minus the chance level; may be negative."""
        return self.value - self.chance

    @property
    def significant(self) -> bool:
        """Whether q is at most the false discovery rate ``FALSE_DISCOVERIES``."""
        return self.q <= FALSE_DISCOVERIES


def significance_tests(
    sums: RoutingSums, *, draws: int = 999, seed: int = 0
) -> tuple[SignificanceTest, ...]:
    """Computes all applicable tests; some need two experts, two speakers or two phonemes.

    The order of the utterances does not matter. If there are more than ``MOST_UTTERANCES``, tests
    that involve phonemes use a random sample for both value and chance.

    Args:
        sums: The routing of a split.
        draws: Number of permutations per test, at least 1; fewer for very large tables.
        seed: Random seed of the permutations.
    """
    if len(sums.experts) < 2:
        return ()
    random = np.random.default_rng(seed)
    order = by_name(sums)
    tests: list[SignificanceTest] = []
    comparable = len(sums.speakers) > 1
    if comparable:
        tests += _speaker_tests(sums, order, draws, random)
    spoken = order[sums.rows[order, 1:].any(axis=1)]
    if len(spoken) > MOST_UTTERANCES:
        spoken = spoken[np.sort(random.choice(len(spoken), MOST_UTTERANCES, replace=False))]
    if len(spoken):
        # Phonemes and experts without mass are skipped to save time.
        phonemes = 1 + np.flatnonzero(sums.rows[spoken, 1:].any(axis=0))
        mass = sums.mass[spoken][:, phonemes]
        mass = mass[:, :, mass.any(axis=(0, 1))]
        speaker = np.unique(sums.speaker[spoken], return_inverse=True)[1]
        rows = sums.rows[spoken][:, phonemes]
        if len(phonemes) > 1:
            tests += _phoneme_test(mass, rows, speaker, draws, random)
        if comparable:
            tests += _beyond_tests(mass, speaker, draws, random)
    q = false_discovery_rates(np.array([test.p for test in tests]))
    return tuple(replace(test, q=float(rate)) for test, rate in zip(tests, q, strict=True))


def by_name(sums: RoutingSums) -> Counts:
    """Indices of the utterances sorted by name, so that results do not depend on their order."""
    return np.lexsort((sums.speaker, np.array(sums.utterances)))


def false_discovery_rates(p: Floats) -> Floats:
    """The q values of Benjamini and Hochberg, "Controlling the false discovery rate" (1995).

    Args:
        p: The p value of each test, shape (tests,).

    Returns:
        The lowest false discovery rate at which each test is significant, shape (tests,).
    """
    order = np.argsort(p)[::-1]
    rates = p[order] * len(p) / np.arange(len(p), 0, -1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(rates)
    return np.minimum(q, 1.0)


def _speaker_tests(
    sums: RoutingSums, order: Counts, draws: int, random: np.random.Generator
) -> list[SignificanceTest]:
    """Information about the speaker, Cramer's V, and the share of each speaker's own expert."""
    mass = sums.mass.sum(axis=1)[order]  # (U, E)
    index = {name: i for i, name in enumerate(sums.experts)}
    owners = [i for i, name in enumerate(sums.speakers) if name in index]
    experts = [index[sums.speakers[i]] for i in owners]

    def statistics(deal: csr_array) -> list[float]:
        joint = deal @ mass  # (S, E)
        shares = joint[owners, experts] / joint[owners].sum(axis=1)
        return [mutual_information(joint), cramers_v(joint), *shares.tolist()]

    deals = _Deals(sums.speaker[order])
    observed = np.array(statistics(deals.observed))
    draws = _affordable(draws, mass.size, deals.number * mass.shape[1])
    null = np.array([statistics(deals.draw(random)) for _ in range(draws)])
    names: list[tuple[str, str | None, str]] = [
        ("speaker_information", None, "bits"),
        ("cramers_v", None, ""),
        *(("own_share", sums.speakers[i], "") for i in owners),
    ]
    return _compare(names, observed, null)


def _beyond_tests(
    mass: Masses, speaker: Counts, draws: int, random: np.random.Generator
) -> list[SignificanceTest]:
    """Information about the speaker given the phoneme, and interaction of speaker and phoneme.

    The interaction information is ``I(speaker; expert | phoneme) - I(speaker; expert)``, symmetric
    in speaker and phoneme (McGill, "Multivariate information transmission", 1954).
    Positive: speakers route the same phoneme differently, in ways that differ from phoneme to
    phoneme. Negative: speaker and phoneme are redundant.

    Args:
        mass: Masses, shape (utterances, phonemes, experts).
        speaker: Index of each utterance's speaker, shape (utterances,).
        draws: Number of permutations.
        random: Random generator.
    """
    flat = mass.reshape(len(mass), -1)
    deals = _Deals(speaker)

    def statistics(deal: csr_array) -> list[float]:
        joint = (deal @ flat).reshape(-1, *mass.shape[1:])  # (S, P, E)
        beyond = conditional_information(joint)
        return [beyond, beyond - mutual_information(joint.sum(axis=1))]

    draws = _affordable(draws, flat.size, deals.number * flat.shape[1])
    observed = np.array(statistics(deals.observed))
    null = np.array([statistics(deals.draw(random)) for _ in range(draws)])
    names = [("speaker_beyond_phonemes", None, "bits"), ("interaction", None, "bits")]
    # With one phoneme there is no interaction.
    number = min(mass.shape[1], 2)
    return _compare(names[:number], observed[:number], null[:, :number])


def _phoneme_test(
    mass: Masses, rows: Counts, speaker: Counts, draws: int, random: np.random.Generator
) -> list[SignificanceTest]:
    """Mutual information with the phoneme.

    Args:
        mass: Masses, shape (utterances, phonemes, experts).
        rows: Number of rows, shape (utterances, phonemes).
        speaker: Index of each utterance's speaker, shape (utterances,).
        draws: Number of permutations.
        random: Random generator.
    """
    utterance, phoneme = np.nonzero(rows)
    # Phonemes are permuted within their utterance; single ones within their speaker.
    lone = ((rows > 0).sum(axis=1) == 1)[utterance]
    group = np.where(lone, len(rows) + speaker[utterance], utterance)
    arranged = np.argsort(group, kind="stable")
    utterance, phoneme, group = utterance[arranged], phoneme[arranged], group[arranged]
    count = rows[utterance, phoneme]
    mean = mass[utterance, phoneme] / count[:, None].astype(np.float32)  # (B, E)

    by_phoneme = np.argsort(phoneme, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(phoneme))])
    weight = count[by_phoneme].astype(np.float32)

    def statistic(source: Counts) -> float:
        """The statistic if the mean weights of pairs are taken from the pairs ``source``."""
        into = csr_array((weight, source[by_phoneme], ends), shape=(len(ends) - 1, len(mean)))
        return mutual_information(into @ mean)

    # Sorting is several times as fast as argsort, so each number is composed of the group, a
    # random number and the index.
    index_bits = len(mean).bit_length()
    random_bits = 62 - index_bits - int(group.max()).bit_length()
    keys = (group << (index_bits + random_bits)) + np.arange(len(mean))

    def shuffled() -> Counts:
        """Indices of the pairs in random order within their groups."""
        chance = random.integers(2**random_bits, size=len(keys))
        ordered: Counts = np.sort(keys + (chance << index_bits)) & (2**index_bits - 1)
        return ordered

    observed = np.array([statistic(np.arange(len(mean)))])
    draws = _affordable(draws, mean.size, rows.shape[1] * mean.shape[1])
    null = np.array([[statistic(shuffled())] for _ in range(draws)])
    return _compare([("phoneme_information", None, "bits")], observed, null)


class _Deals:
    """Random assignments of utterances to speakers as one-hot matrices (speakers, utterances).

    The number of utterances of each speaker is fixed, so only the columns change between draws.
    """

    def __init__(self, speaker: Counts) -> None:
        counts = np.bincount(speaker)
        self.number = len(counts)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._ones = np.ones(len(speaker), np.float32)
        self.observed = self._deal(np.argsort(speaker, kind="stable"))

    def draw(self, random: np.random.Generator) -> csr_array:
        """Draws a random assignment."""
        return self._deal(random.permutation(len(self._ones)))

    def _deal(self, order: Counts) -> csr_array:
        shape = (self.number, len(self._ones))
        return csr_array((self._ones, order, self._ends), shape=shape)


def _affordable(draws: int, added: int, logged: int) -> int:
    """The number of draws within the computation limit of a test."""
    return min(draws, max(_LEAST_DRAWS, int(_WORK // (added + _LOGARITHM * logged))))


def _compare(
    names: Sequence[tuple[str, str | None, str]],
    observed: Floats,
    null: NDArray[np.float64],
) -> list[SignificanceTest]:
    """Tests of statistics from the same draws, with ``null`` of shape (draws, statistics)."""
    chance = null.mean(axis=0)
    p = (1 + (null >= observed - _TIE).sum(axis=0)) / (1 + len(null))
    return [
        SignificanceTest(
            name, scope, float(value), float(mean), unit, float(chance_p), len(null), 1.0
        )
        for (name, scope, unit), value, mean, chance_p in zip(
            names, observed, chance, p, strict=True
        )
    ]
