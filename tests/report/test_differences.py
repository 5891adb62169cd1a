from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.report.compare.differences import (
    Differences,
    controlled,
    most_different,
    routing_change,
    side_by_side,
    turns,
)

phonemes = st.lists(st.sampled_from("aims"), max_size=8)


@given(reference=phonemes, a=phonemes, b=phonemes)
def test_columns_spell_all_three_and_count_the_errors(
    reference: list[str], a: list[str], b: list[str]
) -> None:
    columns = side_by_side(reference, a, b)
    for place, phonemes_of in enumerate((reference, a, b)):
        assert [column[place] for column in columns if column[place]] == phonemes_of
    assert sum(r != h for r, h, _ in columns) == score_utterance(reference, a).errors
    assert sum(r != h for r, _, h in columns) == score_utterance(reference, b).errors
    assert all(any(column) for column in columns)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_turns_come_back_as_they_were(choices: list[int]) -> None:
    parts = turns(np.array(choices))
    assert [c for c, rows in parts for _ in range(rows)] == choices
    assert all(one != other for (one, _), (other, _) in pairwise(parts))


def test_nothing_changes_without_a_change() -> None:
    weights = np.random.default_rng(0).random((9, 3))
    result = routing_change(weights, weights, np.full(9, 5))
    assert (result.distance, result.interval, result.p) == (0, (0, 0), 1)


def test_a_planted_change_is_found_with_its_size() -> None:
    random = np.random.default_rng(1)
    rows = random.integers(5, 20, size=40)
    before = random.dirichlet([40, 30, 30], 40) * rows[:, None]
    after = random.dirichlet([25, 45, 30], 40) * rows[:, None]
    result = routing_change(before, after, rows)
    assert result.distance == pytest.approx(0.15, abs=0.03)
    assert result.interval[0] < 0.15 < result.interval[1]
    assert result.p < 0.01
    np.testing.assert_allclose([result.before.sum(), result.after.sum()], 1)


def test_no_change_is_called_one_in_twenty_times_at_most() -> None:
    random = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        rows = random.integers(5, 20, size=25)
        sides = random.dirichlet([4, 3, 3], (2, 25)) * rows[:, None]
        alarms += routing_change(*sides, rows).p <= 0.05
    assert alarms <= 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)


def test_of_many_findings_only_those_beyond_false_discovery_are_significant() -> None:
    tests = controlled([0.001, 0.04, 0.5, 0.9])
    assert [test["significant"] for test in tests] == [True, False, False, False]
    np.testing.assert_allclose([test["q"] for test in tests], [0.004, 0.08, 2 / 3, 0.9])


def of_one_speaker(words: np.ndarray, routing: np.ndarray | None) -> Differences:
    zeros = np.zeros(len(words), dtype=np.int64)
    return Differences(words, routing, zeros, zeros, np.zeros(1))


def test_half_of_the_utterances_differ_by_words_and_half_by_routing() -> None:
    words, routing = np.linspace(1, 0, 50), np.linspace(0, 1, 50)
    result = most_different(of_one_speaker(words, routing), 20)
    assert result[:10] == [(i, "transcription") for i in range(10)]
    assert result[10:] == [(i, "routing") for i in range(49, 39, -1)]
    alone = most_different(of_one_speaker(words, None), 20)
    assert alone == [(i, "transcription") for i in range(20)]
    # Where words hardly differ, routing fills the rest, and the other way round.
    few = np.zeros(50)
    few[7] = 0.5
    assert len(most_different(of_one_speaker(few, routing), 20)) == 20
    assert len(most_different(of_one_speaker(words, few), 20)) == 20
    assert most_different(of_one_speaker(np.zeros(50), np.zeros(50))) == []


def test_of_tokens_that_differ_as_much_the_speakers_take_turns() -> None:
    # Three speakers with 30 tokens each: all hypotheses differ, those of the first get better,
    # those of the last worse; some of the second differ without a change of errors.
    speaker = np.repeat([0, 1, 2], 30)
    errors = np.repeat([-1, 0, 1], 30)
    differences = Differences(np.ones(90), None, errors, speaker, np.array([-0.02, 0, 0.05]))
    chosen = [speaker[i] for i, _ in most_different(differences, 20)]
    assert chosen == [2, 0] * 10


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_ties_never_come_before_a_greater_difference(seed: int, limit: int) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(0, 3, 40) / 2
    errors, speaker = random.integers(-2, 3, 40), random.integers(0, 4, 40)
    differences = Differences(words, None, errors, speaker, random.normal(size=4))
    chosen = [i for i, _ in most_different(differences, limit)]
    assert len(chosen) == len(set(chosen)) == min(limit, int((words > 0).sum()))
    ranks = [(words[i], abs(errors[i])) for i in chosen]
    assert ranks == sorted(ranks, reverse=True)
    left = set(range(40)) - set(chosen)
    assert all((words[i], abs(errors[i])) <= ranks[-1] for i in left if chosen)
