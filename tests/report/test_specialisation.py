"""Intervals, adjusted means, clusters, blend or switch: against what was planted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom
from splits import accumulated, dependent_utterances, utterance

from phoneme_moe.report.build_document import build_document
from phoneme_moe.report.collect.table import UtteranceRouting
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import Cost
from phoneme_moe.report.expert_ablation import Ablations
from phoneme_moe.report.routing_sums import RoutingSums
from phoneme_moe.report.specialisation import Specialisation, specialise
from phoneme_moe.report.statistics import summarize

PHONEMES = "abcde"
EXPERTS = ("ann", "bob", "y", "z")
KEYS = {
    *("weight_intervals", "adjusted_weights", "adjusted_phonemes", "clustering", "mixing"),
    *("credit", "tests", "edges", "correctness"),
}


def around(
    truth: np.ndarray, random: np.random.Generator, *, each: int, rows: int = 25
) -> list[UtteranceRouting]:
    """Utterances whose weights scatter about those of their speaker, shape (speakers, experts)."""
    result = []
    for speaker, weights in enumerate(truth):
        for take in range(each):
            utterance_mean = random.dirichlet(20 * weights)
            frames = random.dirichlet(np.maximum(10 * utterance_mean, 1e-3), rows) + 1e-9
            phoneme = np.repeat(random.integers(-1, 5, rows // 5), 5)
            name = f"s{speaker:03}"
            result.append(utterance(f"{name}-{take}", name, frames, phoneme, random))
    return result


def checked(sums: RoutingSums, draws: int = 20) -> dict[str, Any]:
    """What goes into the document, which refuses NaN."""
    cost = Cost(
        parameters=1, active_parameters=1, multiply_adds_per_frame=1, frame_ms=10, weight_bytes=4
    )
    document = build_document(
        summarize(sums), specialise(sums, draws=draws), Ablations(0.1), cost, title="t", facts={}
    )
    data = document.model_dump(mode="json")
    assert RoutingDocument.model_validate(data) == document
    return {key: {**data, **data["contribution"]}[key] for key in KEYS}


def test_a_planted_blend_is_recovered_within_two_hundredths_and_lies_in_its_interval(
    planted: np.ndarray,
) -> None:
    sums = accumulated(
        around(planted, np.random.default_rng(0), each=150), [f"e{i}" for i in range(6)], PHONEMES
    )
    result = specialise(sums, draws=199)
    assert result.adjusted_weights is not None
    for weights in (summarize(sums).weights, result.adjusted_weights):
        np.testing.assert_allclose(weights, planted, atol=0.02)
    low, high = np.moveaxis(result.weight_intervals, 2, 0)
    assert np.mean((low <= planted) & (planted <= high)) > 0.85
    assert (high - low).max() < 0.04
    assert all(
        test.significant
        for test in result.tests
        if test.name in ("speaker_information", "cramers_v")
    )


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say_also_for_few_utterances() -> None:
    speakers = 300
    truth = np.array([0.5, 0.3, 0.2])
    random = np.random.default_rng(0)
    for each in (2, 4, 12):
        split = around(np.tile(truth, (speakers, 1)), random, each=each, rows=10)
        intervals = specialise(accumulated(split, "xyz", PHONEMES), draws=399).weight_intervals
        low, high = np.moveaxis(intervals, 2, 0)
        held = int(((low <= truth) & (truth <= high))[:, 0].sum())
        assert binom.ppf(0.001, speakers, 0.93) <= held


def test_one_utterance_has_an_interval_that_says_nothing() -> None:
    split = dependent_utterances(np.random.default_rng(0), each=1)
    result = specialise(accumulated(split, EXPERTS, PHONEMES), draws=9)
    np.testing.assert_array_equal(result.weight_intervals, [[[0, 1]] * 4] * 4)


def test_adjusted_weights_take_the_phoneme_mix_away() -> None:
    # Both speakers route a to x and b to y; ann says a three times in four, bob b. Only ann says c.
    def split(speaker: str, number: int) -> UtteranceRouting:
        phoneme = np.array([0] * number + [1] * (4 - number) + ([2] if speaker == "ann" else []))
        return utterance(speaker, speaker, np.eye(3)[phoneme] + 1e-9, phoneme)

    sums = accumulated([split("ann", 3), split("bob", 1)], "xyz", ("a", "b", "c"))
    result = specialise(sums, draws=9)
    assert result.adjusted_phonemes == ("a", "b")
    np.testing.assert_allclose(result.adjusted_weights, [[0.5, 0.5, 0]] * 2, atol=1e-6)
    np.testing.assert_allclose(summarize(sums).weights[1], [0.25, 0.75, 0], atol=1e-6)


def test_no_phoneme_in_common_leaves_nothing_to_adjust() -> None:
    split = [
        utterance("u", "ann", np.ones((3, 2)), np.zeros(3, np.int64)),
        utterance("v", "bob", np.ones((3, 2)), np.ones(3, np.int64)),
    ]
    result = checked(accumulated(split, "xy", "ab"))
    assert (result["adjusted_weights"], result["adjusted_phonemes"]) == (None, None)


def test_alike_speakers_are_neighbours_and_experts_follow_them() -> None:
    # Two families that come in turn; experts x and z serve the one, y and w the other.
    one, other = [0.6, 0.02, 0.36, 0.02], [0.02, 0.36, 0.02, 0.6]
    truth = np.array([one, other] * 4)
    sums = accumulated(around(truth, np.random.default_rng(0), each=6), "xyzw", PHONEMES)
    tree = specialise(sums, draws=9).clustering
    assert tree is not None
    family = np.array(tree.speaker_order) % 2
    assert np.abs(np.diff(family)).sum() == 1
    assert {frozenset(tree.expert_order[:2]), frozenset(tree.expert_order[2:])} == {
        frozenset({0, 2}),
        frozenset({1, 3}),
    }
    assert (tree.expert_order[0] in (0, 2)) == (family[0] == 0)
    assert len(tree.linkage) == 7
    assert tree.linkage[-1][3] == 8
    # The last joint is the mean Hellinger distance between the families.
    weights = summarize(sums).weights
    distance = squareform(pdist(np.sqrt(weights))) / np.sqrt(2)
    assert tree.linkage[-1][2] == pytest.approx(distance[::2, 1::2].mean())


def test_mixing_tells_a_blend_from_switching_and_from_one_expert() -> None:
    half, silent = np.full((40, 2), 0.5), np.full(40, -1)
    rows = {
        "blend": half,
        "one": np.eye(2)[np.zeros(40, int)],
        "switch": np.eye(2)[np.arange(40) % 2],
    }
    split = [utterance(name, name, weights, silent) for name, weights in rows.items()]
    assert specialise(accumulated(split, "xy", "a"), draws=9).mixing == (
        pytest.approx(1),
        None,
        pytest.approx(0),
    )


def test_parts_and_credit_are_means_over_rows() -> None:
    split = dependent_utterances(np.random.default_rng(0))
    result = specialise(accumulated(split, EXPERTS, PHONEMES), draws=9)
    weights = np.concatenate([one.weights for one in split])
    spoken = np.concatenate([one.phoneme for one in split]) >= 0
    edge = np.concatenate([one.edge for one in split])
    judged = np.concatenate([one.judged for one in split])
    right = np.concatenate([one.right for one in split])
    assert result.edges is not None
    assert result.correctness is not None
    for part, chosen in (
        (result.edges.steady, spoken & ~edge),
        (result.edges.edge, edge),
        (result.correctness.wrong, judged & ~right),
        (result.correctness.right, right),
    ):
        assert part.rows == chosen.sum()
        np.testing.assert_allclose(part.weights, weights[chosen].mean(axis=0), atol=1e-6)
    assert result.correctness.unjudged == (~judged).sum()
    assert result.credit is not None
    speaker = np.concatenate([[one.speaker] * len(one.weights) for one in split])
    credit = np.concatenate([one.credit for one in split])
    for i, name in enumerate(("ann", "bob", "cy", "di")):
        mean = credit[(speaker == name) & spoken].mean(axis=0)
        np.testing.assert_allclose(result.credit[i], mean, atol=1e-6)


def test_permuting_experts_permutes_everything() -> None:
    split = dependent_utterances(np.random.default_rng(0), speaker_scores=np.eye(4))
    order = [2, 0, 3, 1]
    permuted = [
        dataclasses.replace(one, weights=one.weights[:, order], credit=one.credit[:, order])
        for one in split
        if one.credit is not None
    ]

    def result(split: list[UtteranceRouting], experts: list[str]) -> Specialisation:
        return specialise(accumulated(split, experts, PHONEMES), draws=30)

    names = list(EXPERTS)
    one, other = result(split, names), result(permuted, [names[i] for i in order])
    for key in ("weight_intervals", "adjusted_weights", "credit"):
        np.testing.assert_allclose(
            getattr(one, key)[:, order], getattr(other, key), atol=1e-6, err_msg=key
        )
    assert one.mixing == pytest.approx(other.mixing)
    assert one.clustering is not None
    assert other.clustering is not None
    assert one.clustering.speaker_order == other.clustering.speaker_order
    assert list(one.clustering.expert_order) == [order[i] for i in other.clustering.expert_order]
    # And the order of the utterances changes nothing.
    again = result(split[::-1], names)
    np.testing.assert_allclose(one.weight_intervals, again.weight_intervals, atol=1e-9)
    assert [test.p for test in one.tests] == [test.p for test in again.tests]


def test_what_there_is_not_is_null_and_nothing_is_nan() -> None:
    split = dependent_utterances(np.random.default_rng(0))
    full = checked(accumulated(split, EXPERTS, PHONEMES))
    assert None not in full.values()

    alone = checked(accumulated([one for one in split if one.speaker == "ann"], EXPERTS, PHONEMES))
    assert alone["clustering"] is None
    assert alone["adjusted_weights"] is not None

    silent = [
        dataclasses.replace(
            one,
            phoneme=np.full(len(one.phoneme), -1),
            judged=np.zeros(len(one.phoneme), dtype=bool),
            right=np.zeros(len(one.phoneme), dtype=bool),
        )
        for one in split
    ]
    for phonemes in (PHONEMES, ()):
        none = checked(accumulated(silent, EXPERTS, phonemes))
        assert {key for key, value in none.items() if value is None} == {
            *("adjusted_weights", "adjusted_phonemes", "edges", "correctness", "credit")
        }

    half = [
        one
        if one.speaker == "ann"
        else dataclasses.replace(one, phoneme=np.full(len(one.phoneme), -1))
        for one in split
    ]
    credit = checked(accumulated(half, EXPERTS, PHONEMES))["credit"]
    assert isinstance(credit, list)
    assert [row is None for row in credit] == [False, True, True, True]

    pooled = [
        dataclasses.replace(one, weights=np.ones_like(one.weights[:, :1]), credit=None)
        for one in split
    ]
    one_expert = checked(accumulated(pooled, ("all",), PHONEMES))
    assert (one_expert["clustering"], one_expert["tests"], one_expert["credit"]) == (None, [], None)
    assert one_expert["mixing"] == [None] * 4

    never = [
        dataclasses.replace(one, weights=np.insert(one.weights, 2, 0, axis=1), credit=None)
        for one in split
    ]
    dead = checked(accumulated(never, ("ann", "bob", "dead", "y", "z"), PHONEMES))
    assert dead["clustering"]["expert_order"][-1] == 2
    assert [row[2] for row in dead["weight_intervals"]] == [[0, 0]] * 4

    certain = [
        dataclasses.replace(
            one,
            judged=one.phoneme >= 0,
            right=one.phoneme >= 0,
            weights=np.eye(4, dtype=np.float32)[np.zeros(len(one.weights), int)],
        )
        for one in split
    ]
    perfect = checked(accumulated(certain, EXPERTS, PHONEMES))
    assert perfect["correctness"] is None
    assert perfect["mixing"] == [None] * 4
