"""Bits that a routing decision tells of speaker and phoneme."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.information import (
    conditional_information,
    cramers_v,
    information_about,
    mutual_information,
)


def table(weights: list[list[float]], speaker: list[int], phoneme: list[int]) -> RoutingTable:
    return RoutingTable(
        experts=tuple(f"e{i}" for i in range(len(weights[0]))),
        speakers=("ann", "bob"),
        phonemes=("a", "b"),
        utterances=("u",),
        weights=np.array(weights, dtype=np.float32),
        speaker=np.array(speaker),
        phoneme=np.array(phoneme),
        utterance=np.zeros(len(speaker), dtype=np.int64),
    )


def interaction(joint: np.ndarray) -> float:
    return conditional_information(joint) - mutual_information(joint.sum(axis=1))


def test_an_expert_for_each_speaker_tells_one_bit_of_two_speakers_and_nothing_of_the_phoneme() -> (
    None
):
    weights_of_experts = [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert information_about(
        table(weights_of_experts, [0, 0, 1, 1], [0, 1, 0, 1])
    ) == pytest.approx((1, 0))


def test_frames_without_a_phoneme_count_for_the_speaker_only() -> None:
    rows = [[1, 0], [0, 1], [1, 0], [0, 1]]
    speaker, phoneme = information_about(table(rows, [0, 0, 1, 1], [0, 1, -1, -1]))
    assert (speaker, phoneme) == pytest.approx((0, 1))


def test_a_worked_example() -> None:
    # p(a, e0) = 3/8, p(a, e1) = 1/8 and the other way round for b.
    expected = 2 * (3 / 8 * np.log2(3 / 2) + 1 / 8 * np.log2(1 / 2))
    assert mutual_information(np.array([[3.0, 1.0], [1.0, 3.0]])) == pytest.approx(expected)


@given(st.lists(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), min_size=2, max_size=5))
def test_it_is_at_least_nothing_at_most_all_and_the_same_the_other_way(
    rows: list[list[float]],
) -> None:
    joint = np.array(rows)
    bits = mutual_information(joint)
    assert -1e-9 <= bits <= np.log2(min(joint.shape)) + 1e-9
    assert mutual_information(joint.T) == pytest.approx(bits, abs=1e-12)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    assert mutual_information(independent) == pytest.approx(0, abs=1e-9)


def test_exclusive_or_is_all_interaction_and_a_common_cause_is_redundancy() -> None:
    joint = np.zeros((2, 2, 2))
    for label in range(2):
        for condition in range(2):
            joint[label, condition, label ^ condition] = 5
    assert mutual_information(joint.sum(axis=1)) == pytest.approx(0, abs=1e-12)
    assert conditional_information(joint) == pytest.approx(1)
    assert interaction(joint) == pytest.approx(1)
    same = np.zeros((2, 2, 2))
    same[0, 0, 0] = same[1, 1, 1] = 3
    assert conditional_information(same) == pytest.approx(0, abs=1e-12)
    assert interaction(same) == pytest.approx(-1)


@given(st.integers(0, 2**32 - 1))
def test_conditional_information_is_the_mean_over_conditions_and_interaction_is_symmetric(
    seed: int,
) -> None:
    joint = np.random.default_rng(seed).exponential(size=(3, 4, 5))
    share = joint.sum(axis=(0, 2)) / joint.sum()
    each = [mutual_information(joint[:, condition]) for condition in range(4)]
    assert conditional_information(joint) == pytest.approx(share @ each, abs=1e-12)
    assert interaction(joint) == pytest.approx(interaction(joint.swapaxes(0, 1)), abs=1e-12)


@given(
    st.lists(st.lists(st.integers(1, 50), min_size=3, max_size=3), min_size=2, max_size=5),
    st.floats(0.01, 100),
)
def test_cramers_v_is_that_of_scipy_whatever_the_number_of_rows(
    counts: list[list[int]], scale: float
) -> None:
    table = np.array(counts)
    expected = association(table, method="cramer")
    assert cramers_v(table * scale) == pytest.approx(expected, abs=1e-7)
    empty = np.pad(table, ((0, 1), (1, 0)))
    assert cramers_v(empty.astype(np.float64)) == pytest.approx(expected, abs=1e-7)


def test_cramers_v_worked_by_hand() -> None:
    # Expected 4 in every cell, each off by 2: chi squared 4 of 16.
    assert cramers_v(np.array([[6.0, 2.0], [2.0, 6.0]])) == pytest.approx(0.5)
    assert cramers_v(np.eye(3)) == pytest.approx(1)
    assert cramers_v(np.ones((1, 3))) == 0
    assert mutual_information(np.zeros((2, 2))) == 0
