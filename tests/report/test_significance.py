"""Permutation tests of whole utterances: few false alarms, and what was planted is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, false_discovery_control
from splits import accumulated, dependent_utterances, utterance

from phoneme_moe.report import significance
from phoneme_moe.report.collect.table import UtteranceRouting
from phoneme_moe.report.information import mutual_information
from phoneme_moe.report.routing_sums import RoutingSums
from phoneme_moe.report.significance import (
    SignificanceTest,
    false_discovery_rates,
    significance_tests,
)

PHONEMES = "abcde"
#: Experts that bear the names of two speakers, so that there are own shares to test.
EXPERTS = ("ann", "bob", "y", "z")
SPLITS, DRAWS, LEVEL = 200, 39, 0.05


def by_scope(sums: RoutingSums, draws: int = 199) -> dict[tuple[str, str | None], SignificanceTest]:
    return {(t.name, t.scope): t for t in significance_tests(sums, draws=draws)}


def frame_level_p(
    split: list[UtteranceRouting], label: np.ndarray, random: np.random.Generator
) -> float:
    """The test that this project does not do: labels exchanged between single rows."""
    weights = np.concatenate([one.weights for one in split])[label >= 0]
    label = label[label >= 0]

    def told(labels: np.ndarray) -> float:
        return mutual_information(np.eye(labels.max() + 1)[labels].T @ weights)

    null = [told(random.permutation(label)) for _ in range(DRAWS)]
    return float((1 + np.sum(np.array(null) >= told(label))) / (1 + DRAWS))


@pytest.mark.slow
def test_shuffled_labels_raise_few_alarms_where_a_test_of_frames_raises_many() -> None:
    random = np.random.default_rng(1)
    p: dict[str, list[float]] = {}
    for _ in range(SPLITS):
        # Speakers and phonemes are drawn without a look at the routing.
        split = dependent_utterances(random)
        for test in significance_tests(accumulated(split, EXPERTS, PHONEMES), draws=DRAWS):
            p.setdefault(f"{test.name} {test.scope}", []).append(test.p)
        lengths = [len(one.weights) for one in split]
        speaker = np.repeat(np.arange(len(split)) // 10, lengths)
        p.setdefault("frames: speaker", []).append(frame_level_p(split, speaker, random))
        phoneme = np.concatenate([one.phoneme for one in split])
        p.setdefault("frames: phoneme", []).append(frame_level_p(split, phoneme, random))
    alarms = {name: int(np.sum(np.array(values) <= LEVEL)) for name, values in p.items()}
    assert all(len(values) == SPLITS for values in p.values())
    assert len(alarms) == 9
    assert alarms.pop("frames: speaker") > 0.9 * SPLITS
    assert alarms.pop("frames: phoneme") > 0.5 * SPLITS
    most = binom.ppf(0.999, SPLITS, LEVEL)
    assert {name: number for name, number in alarms.items() if number > most} == {}
    # Where utterances can be exchanged exactly the test is not timid either.
    assert alarms["speaker_information None"] >= binom.ppf(0.001, SPLITS, LEVEL)


def test_planted_specialisation_is_found() -> None:
    random = np.random.default_rng(0)
    split = dependent_utterances(
        random,
        each=12,
        speaker_scores=np.diag([3.0, 3.0, 0, 0]),
        phoneme_scores=np.diag([4.0] * 5)[:, :4],
    )
    results = by_scope(accumulated(split, EXPERTS, PHONEMES))
    for name in ("speaker_information", "phoneme_information", "speaker_beyond_phonemes"):
        test = results[name, None]
        assert test.significant
        assert test.p == 1 / 200
        assert test.corrected > 0.05
    assert results["cramers_v", None].significant
    assert results["own_share", "ann"].significant
    assert results["own_share", "bob"].corrected > 0.1


def test_speakers_that_differ_only_in_what_they_say_tell_nothing_beyond_it() -> None:
    random = np.random.default_rng(3)
    split = dependent_utterances(
        random,
        each=15,
        rows=40,
        shared=0.3,
        speaker_mixes=np.full((4, 5), 0.05) + 0.75 * np.eye(4, 5),
        phoneme_scores=np.eye(5, 4) * 6,
    )
    results = by_scope(accumulated(split, EXPERTS, PHONEMES))
    assert results["speaker_information", None].corrected > 0.2
    assert results["speaker_information", None].significant
    beyond = results["speaker_beyond_phonemes", None]
    assert abs(beyond.corrected) < 0.02
    assert beyond.p > LEVEL


def test_an_interaction_is_found_and_speaker_and_phoneme_alone_are_none() -> None:
    # The speaker turns round which expert answers a and which b: neither alone tells anything.
    def split(turned: bool) -> RoutingSums:
        random = np.random.default_rng(5)
        results = []
        for take in range(40):
            phoneme = random.integers(0, 2, 30)
            expert = phoneme ^ (take % 2) if turned else phoneme
            weights = np.eye(2)[expert] * 0.6 + 0.2
            results.append(utterance(f"u{take}", ("ann", "bob")[take % 2], weights, phoneme))
        return accumulated(results, ("x", "y"), "ab")

    turned = by_scope(split(turned=True))["interaction", None]
    # H(0.2) is what is left of one bit.
    assert turned.value == pytest.approx(1 + 0.2 * np.log2(0.2) + 0.8 * np.log2(0.8), abs=0.02)
    assert turned.significant
    straight = by_scope(split(turned=False))
    assert abs(straight["interaction", None].value) < 0.01
    assert straight["interaction", None].p > LEVEL
    assert straight["phoneme_information", None].significant


def test_utterances_of_one_phoneme_are_exchanged_within_their_speaker() -> None:
    # One token each, as in a word task: routing follows the phoneme, or only the speaker.
    def split(follows: Callable[[int, int], int]) -> RoutingSums:
        return accumulated(
            [
                utterance(
                    f"u{take}",
                    ("ann", "bob")[take % 2],
                    np.eye(2)[[follows(take % 2, take // 2 % 3)]] + 0.1,
                    np.array([take // 2 % 3]),
                )
                for take in range(48)
            ],
            ("x", "y"),
            "bdg",
        )

    by_phoneme = by_scope(split(lambda speaker, phoneme: min(phoneme, 1)))
    assert by_phoneme["phoneme_information", None].p == 1 / 200
    by_speaker = by_scope(split(lambda speaker, phoneme: speaker))
    assert by_speaker["phoneme_information", None].p == 1
    assert by_speaker["speaker_information", None].p == 1 / 200


def test_routing_that_is_constant_inside_utterances_tells_nothing_of_phonemes() -> None:
    random = np.random.default_rng(0)
    split = [
        dataclasses.replace(one, weights=np.repeat(one.weights[:1], len(one.weights), axis=0))
        for one in dependent_utterances(random)
    ]
    results = by_scope(accumulated(split, EXPERTS, PHONEMES), draws=50)
    assert results["phoneme_information", None].value > 0.01
    assert results["phoneme_information", None].corrected == pytest.approx(0, abs=1e-5)
    assert results["phoneme_information", None].p == 1


def test_order_of_utterances_and_of_experts_does_not_matter() -> None:
    split = dependent_utterances(np.random.default_rng(0), speaker_scores=np.eye(4))
    one = significance_tests(accumulated(split, EXPERTS, PHONEMES), draws=50, seed=3)
    backwards = [
        dataclasses.replace(each, weights=each.weights[:, ::-1]) for each in reversed(split)
    ]
    other = significance_tests(accumulated(backwards, EXPERTS[::-1], PHONEMES), draws=50, seed=3)
    assert [(t.name, t.scope, t.p, t.draws) for t in one] == [
        (t.name, t.scope, t.p, t.draws) for t in other
    ]
    for mine, theirs in zip(one, other, strict=True):
        assert mine.value == pytest.approx(theirs.value, abs=1e-6)
        assert mine.chance == pytest.approx(theirs.chance, abs=1e-6)


def test_of_very_many_utterances_a_random_choice_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = dependent_utterances(np.random.default_rng(0), each=40, phoneme_scores=np.eye(5, 4) * 2)
    sums = accumulated(split, EXPERTS, PHONEMES)
    whole = by_scope(sums)
    monkeypatch.setattr(significance, "MOST_UTTERANCES", 80)
    part = by_scope(sums)
    speaker, phoneme = ("speaker_information", None), ("phoneme_information", None)
    assert part[speaker].value == whole[speaker].value
    assert part[phoneme].value != whole[phoneme].value
    assert part[phoneme].corrected == pytest.approx(whole[phoneme].corrected, rel=0.3)
    assert part[phoneme].significant


def test_a_very_large_table_gets_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = accumulated(dependent_utterances(np.random.default_rng(0)), EXPERTS, PHONEMES)
    monkeypatch.setattr(significance, "_WORK", 1)
    assert {test.draws for test in significance_tests(sums, draws=400)} == {199}
    assert {test.draws for test in significance_tests(sums, draws=20)} == {20}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_rates_are_those_of_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(
        false_discovery_rates(np.array(p)), false_discovery_control(p), rtol=1e-12
    )


def test_what_cannot_be_tested_is_left_out() -> None:
    split = dependent_utterances(np.random.default_rng(0), speakers=("ann",))

    def names(sums: RoutingSums) -> set[str]:
        return {test.name for test in significance_tests(sums, draws=9)}

    assert names(accumulated(split, EXPERTS, PHONEMES)) == {"phoneme_information"}
    split = dependent_utterances(np.random.default_rng(0))
    silent = [dataclasses.replace(one, phoneme=np.full(len(one.phoneme), -1)) for one in split]
    alone = {"speaker_information", "cramers_v", "own_share"}
    assert names(accumulated(silent, EXPERTS, PHONEMES)) == alone
    assert names(accumulated(silent, EXPERTS, ())) == alone
    one_phoneme = [
        dataclasses.replace(one, phoneme=np.zeros(len(one.phoneme), np.int64)) for one in split
    ]
    assert names(accumulated(one_phoneme, EXPERTS, "a")) == alone | {"speaker_beyond_phonemes"}
    single = [
        dataclasses.replace(one, weights=one.weights[:, :1] * 0 + 1, credit=None) for one in split
    ]
    assert names(accumulated(single, ("all",), PHONEMES)) == set()
