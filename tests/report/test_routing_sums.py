"""Sums per utterance: nothing is lost, and streaming gives what a table in memory gives."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splits import accumulated, dependent_utterances

from phoneme_moe.errors import InputError
from phoneme_moe.report import routing_sums as tally_module
from phoneme_moe.report.collect.table import RoutingTable, UtteranceRouting
from phoneme_moe.report.information import information_about
from phoneme_moe.report.routing_sums import RoutingAccumulator, sum_table
from phoneme_moe.report.statistics import summarize

PHONEMES = tuple("abcde")


@st.composite
def splits(draw: st.DrawFn) -> list[UtteranceRouting]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    split = dependent_utterances(
        random,
        speakers=("x", "y", "z")[: draw(st.integers(1, 3))],
        each=draw(st.integers(1, 4)),
        rows=draw(st.integers(2, 12)),
        num_experts=draw(st.integers(1, 5)),
    )
    if draw(st.booleans()):  # only the heaviest expert is selected
        split = [
            dataclasses.replace(
                one,
                weights=np.eye(one.weights.shape[1], dtype=np.float32)[one.weights.argmax(axis=1)],
            )
            for one in split
        ]
    order = draw(st.permutations(range(len(split))))
    return [split[i] for i in order]


def names_of(split: list[UtteranceRouting]) -> list[str]:
    return [f"e{i}" for i in range(split[0].weights.shape[1])]


def table_of(split: list[UtteranceRouting]) -> RoutingTable:
    speakers = sorted({one.speaker for one in split})
    lengths = [len(one.weights) for one in split]
    return RoutingTable(
        experts=tuple(names_of(split)),
        speakers=tuple(speakers),
        phonemes=PHONEMES,
        utterances=tuple(one.utterance for one in split),
        weights=np.concatenate([one.weights for one in split]),
        speaker=np.repeat([speakers.index(one.speaker) for one in split], lengths),
        phoneme=np.concatenate([one.phoneme for one in split]),
        utterance=np.repeat(np.arange(len(split)), lengths),
    )


@settings(max_examples=40, deadline=None)
@given(splits())
def test_sums_equal_those_of_the_rows(split: list[UtteranceRouting]) -> None:
    sums = accumulated(split, names_of(split), PHONEMES)
    assert sums.speakers == tuple(sorted({one.speaker for one in split}))
    for i, one in enumerate(split):
        weights = one.weights.astype(np.float64)
        assert sums.utterances[i] == one.utterance
        assert sums.speakers[sums.speaker[i]] == one.speaker
        for slot in range(len(PHONEMES) + 1):
            mine = one.phoneme == slot - 1
            assert sums.rows[i, slot] == mine.sum()
            np.testing.assert_allclose(sums.mass[i, slot], weights[mine].sum(axis=0), rtol=1e-6)
        logs = np.log(np.where(weights > 0, weights, 1))
        assert sums.entropy[i] == pytest.approx(-(weights * logs).sum(), abs=1e-6)
        spoken = one.phoneme >= 0
        for rows, mass, among, mark in (
            (sums.edge_rows, sums.edge_mass, spoken, one.edge),
            (sums.right_rows, sums.right_mass, one.judged, one.right),
        ):
            for side, chosen in enumerate((among & ~mark, among & mark)):
                assert rows[i, side] == chosen.sum()
                np.testing.assert_allclose(mass[i, side], weights[chosen].sum(axis=0), atol=1e-5)
        assert sums.credit is not None
        assert one.credit is not None
        np.testing.assert_allclose(sums.credit[i], one.credit.sum(axis=0), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(splits())
def test_masses_add_up_to_rows(split: list[UtteranceRouting]) -> None:
    sums = accumulated(split, names_of(split), PHONEMES)
    np.testing.assert_allclose(sums.mass.sum(axis=2), sums.rows, rtol=1e-5)
    assert sums.rows.sum() == sum(len(one.weights) for one in split)
    np.testing.assert_array_equal(sums.edge_rows.sum(axis=1), sums.rows[:, 1:].sum(axis=1))
    judged = [int(one.judged.sum()) for one in split]
    np.testing.assert_array_equal(sums.right_rows.sum(axis=1), judged)
    np.testing.assert_allclose(sums.edge_mass.sum(axis=1), sums.mass[:, 1:].sum(axis=1), atol=1e-4)
    np.testing.assert_allclose(
        sums.by_speaker().sum(axis=0), sums.mass.sum(axis=0, dtype=np.float64), rtol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(splits())
def test_streaming_equals_the_table_in_memory(split: list[UtteranceRouting]) -> None:
    streamed, table = accumulated(split, names_of(split), PHONEMES), table_of(split)
    whole = sum_table(table)
    for name in ("rows", "mass", "speaker", "entropy"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(whole, name))
    assert (streamed.speakers, streamed.utterances) == (whole.speakers, whole.utterances)
    assert information_about(streamed) == information_about(table)
    one, other = summarize(streamed), summarize(table)
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@settings(max_examples=30, deadline=None)
@given(splits(), st.randoms(use_true_random=False))
def test_the_order_of_utterances_does_not_matter(
    split: list[UtteranceRouting], random: Random
) -> None:
    shuffled = random.sample(split, len(split))
    one = summarize(accumulated(split, names_of(split), PHONEMES))
    other = summarize(accumulated(shuffled, names_of(split), PHONEMES))
    assert (one.speakers, one.phonemes) == (other.speakers, other.phonemes)
    for field in dataclasses.fields(one):
        if isinstance(getattr(one, field.name), np.ndarray):
            np.testing.assert_allclose(
                getattr(one, field.name), getattr(other, field.name), rtol=1e-9
            )


def test_storage_in_many_blocks_is_storage_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    split = dependent_utterances(np.random.default_rng(0))
    one = accumulated(split, "wxyz", PHONEMES)
    monkeypatch.setattr(tally_module, "_BLOCK", 3 * 6 * 4)  # three utterances
    other = accumulated(split, "wxyz", PHONEMES)
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_one_utterance_without_credit_leaves_none() -> None:
    split = dependent_utterances(np.random.default_rng(0), each=1)
    split[1] = dataclasses.replace(split[1], credit=None)
    assert accumulated(split, "wxyz", PHONEMES).credit is None


def test_an_utterance_without_rows_leaves_no_trace_and_no_rows_at_all_are_refused() -> None:
    split = dependent_utterances(np.random.default_rng(0), each=1)
    nothing = UtteranceRouting(
        utterance="empty",
        speaker="nobody",
        frame_seconds=0.01,
        weights=np.zeros((0, 4), np.float32),
        phoneme=np.zeros(0, np.int64),
        edge=np.zeros(0, bool),
        judged=np.zeros(0, bool),
        right=np.zeros(0, bool),
    )
    sums = accumulated([nothing, *split], "wxyz", PHONEMES)
    assert "nobody" not in sums.speakers
    assert sums.credit is not None
    tally = RoutingAccumulator(tuple("wxyz"), PHONEMES)
    tally.add(nothing)
    with pytest.raises(InputError, match="no rows"):
        tally.finish()


def test_an_utterance_of_two_speakers_is_one_utterance_of_the_report() -> None:
    table = RoutingTable(
        experts=("e",),
        speakers=("ann", "bob"),
        phonemes=("a",),
        utterances=("both",),
        weights=np.ones((4, 1), np.float32),
        speaker=np.array([0, 1, 0, 1]),
        phoneme=np.zeros(4, np.int64),
        utterance=np.zeros(4, np.int64),
    )
    assert sum_table(table).utterances == ("both", "both")
    report = summarize(table)
    assert report.num_utterances == 1
    assert report.utterances.tolist() == [1, 1]
    assert report.phoneme_utterances.tolist() == [1]
