"""Bits that a routing decision tells of speaker and phoneme."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.information import information_about, mutual_information
from phoneme_moe.report.table import RoutingTable


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


def test_an_expert_for_each_speaker_tells_one_bit_of_two_speakers_and_nothing_of_the_phoneme() -> (
    None
):
    own = [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert information_about(table(own, [0, 0, 1, 1], [0, 1, 0, 1])) == pytest.approx((1, 0))


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
    found = mutual_information(joint)
    assert -1e-9 <= found <= np.log2(min(joint.shape)) + 1e-9
    assert mutual_information(joint.T) == pytest.approx(found, abs=1e-12)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    assert mutual_information(independent) == pytest.approx(0, abs=1e-9)
