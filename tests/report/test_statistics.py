from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.statistics import RoutingReport, effective_number, summarize


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    rows, experts = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    speakers, phonemes = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    one_hot = draw(st.booleans())
    weights = np.eye(experts)[random.integers(0, experts, rows)] if one_hot else None
    if weights is None:
        weights = random.dirichlet(np.ones(experts), rows)
    return RoutingTable(
        experts=tuple(f"s{i}" for i in range(experts)),
        speakers=tuple(f"s{i}" for i in range(speakers)),
        phonemes=tuple(f"p{i}" for i in range(phonemes)),
        utterances=tuple(f"u{i}" for i in range(6)),
        weights=weights.astype(np.float32),
        speaker=random.integers(0, speakers, rows),
        phoneme=random.integers(-1, phonemes, rows),
        utterance=random.integers(0, 6, rows),
    )


def naive_mean(table: RoutingTable, chosen: list[int]) -> list[float]:
    return [
        sum(float(table.weights[row, expert]) for row in chosen) / len(chosen)
        for expert in range(len(table.experts))
    ]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(tables())
def test_means_and_counts_equal_a_naive_loop(table: RoutingTable) -> None:
    report = summarize(table)
    rows = range(len(table.weights))
    for i, name in enumerate(report.speakers):
        mine = [r for r in rows if table.speakers[table.speaker[r]] == name]
        np.testing.assert_allclose(report.weights[i], naive_mean(table, mine), atol=1e-12)
        assert report.rows[i] == len(mine)
        assert report.utterances[i] == len({table.utterance[r] for r in mine})
        for j, phoneme in enumerate(report.phonemes):
            with_phoneme = [r for r in mine if table.phoneme[r] == table.phonemes.index(phoneme)]
            assert report.speaker_phoneme_rows[i, j] == len(with_phoneme)
            expected = (
                naive_mean(table, with_phoneme) if with_phoneme else [np.nan] * len(table.experts)
            )
            np.testing.assert_allclose(report.speaker_phoneme_weights[i, j], expected, atol=1e-12)
    for j, phoneme in enumerate(report.phonemes):
        with_phoneme = [r for r in rows if table.phoneme[r] == table.phonemes.index(phoneme)]
        np.testing.assert_allclose(
            report.phoneme_weights[j], naive_mean(table, with_phoneme), atol=1e-12
        )
        assert report.phoneme_rows[j] == len(with_phoneme)
        assert report.phoneme_utterances[j] == len({table.utterance[r] for r in with_phoneme})
    np.testing.assert_allclose(report.load, naive_mean(table, list(rows)), atol=1e-12)
    assert report.num_utterances == len(set(table.utterance.tolist()))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(tables())
def test_rows_sum_to_one_and_mixing_never_lowers_the_effective_number(table: RoutingTable) -> None:
    report = summarize(table)
    for weights in (report.weights, report.phoneme_weights, report.load[None]):
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert set(report.speakers) == {table.speakers[i] for i in table.speaker}
    assert np.all(report.effective_per_row <= report.effective_experts + 1e-6)
    assert np.all(report.effective_per_row >= 1)
    assert np.all(report.effective_experts <= len(table.experts) + 1e-5)


@settings(max_examples=30, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_permuting_experts_permutes_columns_only(table: RoutingTable, random: Random) -> None:
    order = list(range(len(table.experts)))
    random.shuffle(order)
    permuted = dataclasses.replace(
        table, experts=tuple(table.experts[i] for i in order), weights=table.weights[:, order]
    )
    one, other = summarize(table), summarize(permuted)
    np.testing.assert_array_equal(one.weights[:, order], other.weights)
    np.testing.assert_array_equal(one.load[order], other.load)
    np.testing.assert_array_equal(one.phoneme_weights[:, order], other.phoneme_weights)
    np.testing.assert_array_equal(
        one.speaker_phoneme_weights[..., order], other.speaker_phoneme_weights
    )
    np.testing.assert_allclose(one.effective_experts, other.effective_experts)
    np.testing.assert_allclose(one.effective_per_row, other.effective_per_row)
    assert one.own_share == other.own_share
    assert one.blended == other.blended


def test_planted_blends_are_recovered(report: RoutingReport, planted: np.ndarray) -> None:
    np.testing.assert_allclose(report.weights, planted, atol=1e-7)
    assert [report.experts[i] for i in report.most_used] == [
        *("ann_f1", "bob_m1", "jackson", "lucas"),
        *("bob_m1", "ann_f1"),
    ]
    bob, ann = report.speakers.index("bob_m1"), report.speakers.index("ann_f1")
    assert report.borrowed_from == (None, None, None, None, bob, ann)
    assert report.blended == (False, False, False, False, False, True)
    assert report.own_share == pytest.approx(planted.diagonal(), abs=1e-7)
    # The same weights in every row: nothing is switched.
    np.testing.assert_allclose(report.effective_per_row, report.effective_experts, rtol=1e-6)
    assert report.users[bob] == (1, 4)
    assert list(report.utterances) == [2] * 6


def test_effective_number_of_certainty_and_of_indifference() -> None:
    np.testing.assert_allclose(effective_number(np.eye(4)), 1)
    np.testing.assert_allclose(effective_number(np.full((2, 7), 1 / 7)), 7)


def test_switching_is_told_from_blending(plant: Callable[..., RoutingTable]) -> None:
    table = plant(np.array([[0.5, 0.5]]), ["ann"], ["x", "y"], rows=10)
    blend = summarize(table)
    switch = summarize(
        dataclasses.replace(table, weights=np.eye(2, dtype=np.float32)[np.arange(10) % 2])
    )
    np.testing.assert_array_equal(blend.weights, switch.weights)
    assert blend.effective_per_row[0] == pytest.approx(2)
    assert switch.effective_per_row[0] == pytest.approx(1)
    assert switch.effective_experts[0] == pytest.approx(2)


def test_a_speaker_without_namesake_owns_and_borrows_nothing(
    plant: Callable[..., RoutingTable],
) -> None:
    report = summarize(plant(np.array([[0.9, 0.1]]), ["ann"], ["bob", "cy"]))
    assert report.own_share == (None,)
    assert report.borrowed_from == (None,)


def test_dead_is_relative_and_spares_the_expert_of_a_rare_speaker(large: RoutingReport) -> None:
    assert [large.experts[i] for i in large.dead] == ["expert_15"]
    rare = RoutingTable(
        experts=("ann", "bob", "cy"),
        speakers=("ann", "bob"),
        phonemes=(),
        utterances=("u", "v"),
        weights=np.eye(3, dtype=np.float32)[[0] * 99 + [1]],
        speaker=np.array([0] * 99 + [1]),
        phoneme=np.full(100, -1),
        utterance=np.array([0] * 99 + [1]),
    )
    assert summarize(rare).dead == (2,)


def test_speakers_and_phonemes_without_rows_are_left_out(
    plant: Callable[..., RoutingTable],
) -> None:
    table = plant()
    table = dataclasses.replace(
        table, speakers=(*table.speakers, "ghost"), phonemes=("a", "b", "never")
    )
    report = summarize(table)
    assert report.speakers == plant().speakers
    assert report.phonemes == ("a", "b")


def test_an_empty_table_is_refused(plant: Callable[..., RoutingTable]) -> None:
    with pytest.raises(InputError, match="no rows"):
        summarize(plant(rows=0))


def test_select_keeps_order_and_load(large: RoutingReport) -> None:
    chosen = large.most_blended(10)
    part = large.select(chosen)
    assert chosen == sorted(chosen)
    assert part.speakers == tuple(large.speakers[i] for i in chosen)
    assert part.effective_experts.min() >= np.delete(large.effective_experts, chosen).max()
    np.testing.assert_array_equal(part.load, large.load)
