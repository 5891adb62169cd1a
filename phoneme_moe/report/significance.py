"""Permutation tests over whole utterances, with control of the false-discovery rate.

The rows of an utterance depend on each other, so labels are exchanged between utterances (speakers)
or inside them (phonemes), never between single rows. Two null hypotheses:

* speakers: utterances are dealt to the speakers at random, each speaker as many as it has. All
  dependence inside an utterance stays, and so do its phonemes. For all statistics that know
  speakers, the interaction among them, so that its chance level includes the part of the phonemes.
* phonemes: inside each utterance the mean weights of its phonemes change places. How often each
  phoneme occurs stays, and so does everything that all rows of an utterance share. Where an
  utterance has a single phoneme (one token, say), it changes places with other such utterances of
  the same speaker. Means of few rows, which vary more, come to stand for many, so the test errs on
  the side of chance.

p is ``(1 + number of draws at least as great) / (1 + draws)``, never 0 (Phipson and Smyth,
"Permutation p-values should never be zero", 2010); one-sided, since chance lifts every one of
these statistics and never lowers it.

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

#: Tests that know phonemes are made with a random choice of so many utterances.
MOST_UTTERANCES = 5_000
#: A test is significant when at most this part of such findings is expected to be false.
FALSE_DISCOVERIES = 0.05
#: Masses that one test may add up, a logarithm counted as so many; of a very large table fewer
#: draws are made, but not fewer than the least.
_WORK, _LOGARITHM, _LEAST_DRAWS = 1.5e10, 6, 199
#: Bits, or parts of 1: a draw this near the observed value is as great.
_TIE = 1e-6


@dataclass(frozen=True)
class SignificanceTest:
    """One statistic of a report beside what chance gives.

    Attributes:
        name: ``speaker_information``, ``phoneme_information``, ``speaker_beyond_phonemes``,
            ``interaction``, ``cramers_v`` or ``own_share``.
        scope: The speaker that it is about; None for all.
        value: The statistic, not corrected.
        chance: Its mean under permutation.
        unit: ``bits``, or nothing for a share.
        p: Probability of such a value, or a greater one, under permutation.
        draws: Permutations drawn.
        q: Part of false findings among all tests of the report that are at least as clear.
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
        """The statistic without what chance gives; may be below 0."""
        return self.value - self.chance

    @property
    def significant(self) -> bool:
        """Whether it is more than chance, all tests of the report considered."""
        return self.q <= FALSE_DISCOVERIES


def significance_tests(
    sums: RoutingSums, *, draws: int = 999, seed: int = 0
) -> tuple[SignificanceTest, ...]:
    """All tests that make sense: some need two experts, two speakers or two phonemes.

    The order of the utterances does not matter. Of more than ``MOST_UTTERANCES`` utterances the
    tests that know phonemes take a random choice, for the value as for chance.

    Args:
        sums: The routing of a split.
        draws: Permutations for each test, at least 1; fewer are drawn for very large tables.
        seed: Of the permutations.
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
        # Phonemes and experts without mass would only cost time.
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
    """Indices of the utterances sorted by name, so that chance does not hang on their order."""
    return np.lexsort((sums.speaker, np.array(sums.utterances)))


def false_discovery_rates(p: Floats) -> Floats:
    """The q values of Benjamini and Hochberg, "Controlling the false discovery rate" (1995).

    Args:
        p: One p value for each test, shape (tests,).

    Returns:
        The least false-discovery rate at which each test is a finding, shape (tests,).
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

    The interaction information is ``I(speaker; expert | phoneme) - I(speaker; expert)``, the same
    with speaker and phoneme exchanged (McGill, "Multivariate information transmission", 1954).
    Positive: speakers route the same phoneme differently, in ways that differ from phoneme to
    phoneme. Negative: speaker and phoneme are redundant.

    Args:
        mass: Shape (utterances, phonemes, experts).
        speaker: Index of each utterance's speaker, shape (utterances,).
        draws: Permutations.
        random: Their source.
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
    # With one phoneme there is nothing to interact.
    number = min(mass.shape[1], 2)
    return _compare(names[:number], observed[:number], null[:, :number])


def _phoneme_test(
    mass: Masses, rows: Counts, speaker: Counts, draws: int, random: np.random.Generator
) -> list[SignificanceTest]:
    """Information about the phoneme.

    Args:
        mass: Shape (utterances, phonemes, experts).
        rows: Shape (utterances, phonemes).
        speaker: Index of each utterance's speaker, shape (utterances,).
        draws: Permutations.
        random: Their source.
    """
    utterance, phoneme = np.nonzero(rows)
    # Phonemes change places in their utterance; a single one with those of its speaker.
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
        """Of phonemes whose mean weights are taken from the pairs named by ``source``."""
        into = csr_array((weight, source[by_phoneme], ends), shape=(len(ends) - 1, len(mean)))
        return mutual_information(into @ mean)

    # Sorting numbers is several times as fast as argsort, so each carries its index: group,
    # then a random number, then index.
    index_bits = len(mean).bit_length()
    random_bits = 62 - index_bits - int(group.max()).bit_length()
    keys = (group << (index_bits + random_bits)) + np.arange(len(mean))

    def shuffled() -> Counts:
        """Every pair's index, in random order inside its group."""
        chance = random.integers(2**random_bits, size=len(keys))
        ordered: Counts = np.sort(keys + (chance << index_bits)) & (2**index_bits - 1)
        return ordered

    observed = np.array([statistic(np.arange(len(mean)))])
    draws = _affordable(draws, mean.size, rows.shape[1] * mean.shape[1])
    null = np.array([[statistic(shuffled())] for _ in range(draws)])
    return _compare([("phoneme_information", None, "bits")], observed, null)


class _Deals:
    """Ways to deal utterances to speakers, each as a sparse one-hot matrix (speakers, utterances).

    Every speaker gets as many utterances as it has, so only the columns change between draws.
    """

    def __init__(self, speaker: Counts) -> None:
        counts = np.bincount(speaker)
        self.number = len(counts)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._ones = np.ones(len(speaker), np.float32)
        self.observed = self._deal(np.argsort(speaker, kind="stable"))

    def draw(self, random: np.random.Generator) -> csr_array:
        """Utterances dealt at random."""
        return self._deal(random.permutation(len(self._ones)))

    def _deal(self, order: Counts) -> csr_array:
        shape = (self.number, len(self._ones))
        return csr_array((self._ones, order, self._ends), shape=shape)


def _affordable(draws: int, added: int, logged: int) -> int:
    """Draws that stay within the work that a test may take."""
    return min(draws, max(_LEAST_DRAWS, int(_WORK // (added + _LOGARITHM * logged))))


def _compare(
    names: Sequence[tuple[str, str | None, str]],
    observed: Floats,
    null: NDArray[np.float64],
) -> list[SignificanceTest]:
    """Tests of several statistics from the same draws, null of shape (draws, statistics)."""
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
