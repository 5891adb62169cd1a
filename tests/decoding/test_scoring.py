from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, poisson

from phoneme_moe.decoding.scoring import (
    UtteranceScore,
    align_phonemes,
    bootstrap_interval,
    exact_interval,
    paired_difference,
    score_utterance,
    total_score,
)

spoken = st.lists(st.sampled_from(["a", "b", "sh", "N"]), max_size=8)


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein by the textbook table."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=int)
    table[:, 0] = np.arange(len(reference) + 1)
    table[0, :] = np.arange(len(hypothesis) + 1)
    for i, one in enumerate(reference, 1):
        for j, other in enumerate(hypothesis, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (one != other)
            )
    return int(table[-1, -1])


@pytest.mark.slow
@given(reference=spoken, hypothesis=spoken)
@settings(max_examples=300)
def test_errors_are_the_edit_distance(reference: list[str], hypothesis: list[str]) -> None:
    score = score_utterance(reference, hypothesis)
    assert score.errors == edit_distance(reference, hypothesis)
    assert score.num_reference == len(reference)
    assert len(reference) - score.deletions + score.insertions == len(hypothesis)
    hits = len(reference) - score.substitutions - score.deletions
    assert 0 <= hits <= min(len(reference), len(hypothesis))


@given(reference=spoken, hypothesis=spoken)
@settings(max_examples=200)
def test_every_substitution_is_a_confusion_of_two_phonemes(
    reference: list[str], hypothesis: list[str]
) -> None:
    score = score_utterance(reference, hypothesis)
    assert len(score.confusions) == score.substitutions
    for spoken_one, recognized in score.confusions:
        assert spoken_one != recognized
        assert spoken_one in reference
        assert recognized in hypothesis


def test_a_known_alignment() -> None:
    score = score_utterance(list("kitten"), list("sitting"))
    assert (score.substitutions, score.insertions, score.deletions) == (2, 1, 0)
    assert set(score.confusions) == {("k", "s"), ("e", "i")}


@pytest.mark.parametrize("symbol", ["ɯᵝ", "e̞", "É", "#", "'"])
def test_a_phoneme_of_any_spelling_is_one_phoneme(symbol: str) -> None:
    score = score_utterance(["a", symbol], ["a", "b"])
    assert (score.errors, score.confusions) == (1, ((symbol, "b"),))


def test_totals_are_sums_and_confusions_are_ranked() -> None:
    scores = [
        score_utterance(list("abcab"), list("xbcxb")),
        score_utterance(list("ab"), list("aby")),
        score_utterance(list("cb"), list("zb")),
    ]
    total = total_score(scores)
    assert (total.substitutions, total.insertions, total.deletions) == (3, 1, 0)
    assert (total.num_reference, total.num_utterances) == (9, 3)
    assert total.error_rate == pytest.approx(4 / 9)
    assert total.confusions == (("a", "x", 2), ("c", "z", 1))
    assert total_score(scores, num_confusions=1).confusions == (("a", "x", 2),)


@given(
    errors=st.lists(st.integers(0, 10), min_size=1, max_size=40),
)
@settings(max_examples=40)
def test_the_interval_is_ordered_within_what_utterances_show_and_reproducible(
    errors: list[int],
) -> None:
    numerators, denominators = np.array(errors), np.full(len(errors), 10)
    low, high = bootstrap_interval(numerators, denominators)
    assert low < high
    if len(set(errors)) > 1:
        assert min(errors) / 10 <= low <= high <= max(errors) / 10
    else:
        assert low <= errors[0] / 10 <= high
    assert bootstrap_interval(numerators, denominators) == (low, high)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_interval_contains_the_rate_and_has_binomial_width(rate: float) -> None:
    errors = np.random.default_rng(1).random(400) < rate
    found = errors.mean()
    low, high = bootstrap_interval(errors.astype(int), np.ones(400, dtype=int))
    assert low < found < high
    half_width = 1.96 * np.sqrt(found * (1 - found) / 400)
    assert high - found == pytest.approx(half_width, rel=0.2)
    assert found - low == pytest.approx(half_width, rel=0.2)


@pytest.mark.slow
def test_the_interval_has_its_nominal_coverage() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        errors = random.binomial(10, 0.25, size=60)
        low, high = bootstrap_interval(errors, np.full(60, 10))
        covered += low <= 0.25 <= high
    assert 180 <= covered <= 199


def test_no_error_is_not_proof_of_none() -> None:
    # Clopper and Pearson's limits for 0 of 32, with their closed form; and 5 of 6 in one utterance.
    perfect = total_score([UtteranceScore(0, 0, 0, 8)] * 4)
    assert perfect.interval == (0, pytest.approx(1 - 0.025 ** (1 / 32)))
    wrong = total_score([UtteranceScore(8, 0, 0, 8)] * 4)
    assert wrong.interval == (pytest.approx(0.025 ** (1 / 32)), 1)
    one = total_score([UtteranceScore(5, 0, 0, 6)])
    assert one.interval == (pytest.approx(0.3588, abs=1e-4), pytest.approx(0.9958, abs=1e-4))


@given(st.integers(1, 200), st.data())
def test_exact_limits_are_those_at_which_the_count_is_one_in_forty(
    total: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, total))
    low, high = exact_interval(count, total)
    assert 0 <= low <= count / total <= high <= 1
    if count:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.025, rel=1e-6)
    if count < total:
        assert binom.cdf(count, total, high) == pytest.approx(0.025, rel=1e-6)


def test_more_errors_than_phonemes_have_an_interval() -> None:
    low, high = exact_interval(15, 10)
    assert poisson.sf(14, 10 * low) == pytest.approx(0.025)
    assert poisson.cdf(15, 10 * high) == pytest.approx(0.025)


def test_one_utterance_proves_no_difference() -> None:
    before, after = [UtteranceScore(0, 0, 0, 10)], [UtteranceScore(4, 0, 0, 10)]
    changed = paired_difference(before, after)
    assert changed.difference == 0.4
    assert changed.interval[0] < 0.4 < changed.interval[1]
    assert changed.p == 1
    same = paired_difference(before * 5, before * 5)
    assert (same.difference, same.p) == (0, 1)
    assert same.interval[0] == -same.interval[1] < 0
    # Ten tokens that all become wrong: a sign test.
    token, wrong = UtteranceScore(0, 0, 0, 1), UtteranceScore(1, 0, 0, 1)
    assert paired_difference([token] * 10, [wrong] * 10).p == pytest.approx(2 / 1024)


def test_empty_utterances_do_not_divide_by_zero() -> None:
    total = total_score([UtteranceScore(0, 2, 0, 0)])
    assert total.error_rate == 2
    assert np.isfinite(total.interval).all()


@given(r=spoken, h=spoken)
def test_an_alignment_goes_through_both_sequences_in_order(r: list[str], h: list[str]) -> None:
    pairs = align_phonemes(r, h)
    assert [a for a, _ in pairs if a is not None] == list(range(len(r)))
    assert [b for _, b in pairs if b is not None] == list(range(len(h)))
    errors = sum(a is None or b is None or r[a] != h[b] for a, b in pairs)
    assert errors == edit_distance(r, h)
