"""Sentences of a report: true at every size, and in the words of what was routed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import planted_table, typed_document
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import Contribution, Removal, Uniform
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.verdict import verdict


@pytest.fixture
def document() -> RoutingDocument:
    return typed_document(planted_table())


def changed_test(document: RoutingDocument, name: str, **changes: Any) -> RoutingDocument:
    tests = [
        test.model_copy(update=changes) if test.name == name else test for test in document.tests
    ]
    return document.model_copy(update={"tests": tests})


def with_ablations(
    document: RoutingDocument,
    changes: list[float],
    uniform: float = 0.159,
    utterances: int = 12,
    **facts: str,
) -> RoutingDocument:
    contribution = Contribution(
        credit=None,
        base_error_rate=0.036,
        removal=[
            Removal(
                expert=i,
                error_rate=0.036 + change,
                change=change,
                interval=(change - 0.01, change + 0.01),
                by_speaker=[],
            )
            for i, change in enumerate(changes)
        ],
        uniform=Uniform(change=uniform, interval=(uniform - 0.012, uniform + 0.011), p=0.001),
        removal_utterances=utterances,
    )
    return document.model_copy(update={"contribution": contribution, "facts": facts})


def test_what_was_planted(report: RoutingReport) -> None:
    assert verdict(report) == [
        "ann_f1, bob_m1, jackson and lucas are served mainly by their own experts "
        "(76–94 % of the weight).",
        "Two speakers have their own experts but are routed mainly to others: mht to bob_m1 88 % "
        "(own expert: 3 %); theo to ann_f1 40 % and jackson 35 % (own expert: 20 %).",
        "Expert mht is dead: load below a tenth of an equal share.",
        "Effective number of experts (of 6): 1.5 for the median speaker, 1.5 per frame, 4.6 over "
        "all frames.",
    ]


def test_many_speakers_and_experts_that_bear_no_name(large: RoutingReport) -> None:
    sentences = verdict(large)
    assert sentences[0] == "Experts are not named after speakers."
    blends = sum(large.blended)
    assert sentences[1].startswith(f"{125 - blends} speakers are each served mainly by one expert")
    assert sentences[2].startswith(f"{blends} speakers have no main expert (none has half of the ")
    assert sentences[2].endswith(f"; and {blends - 2} more.")
    assert sentences[3] == "Expert expert_15 is dead: load below a tenth of an equal share."


def test_the_expert_of_another_leads_with_less_than_twice_the_own_weight() -> None:
    weights = np.array([[0.9, 0.1], [0.55, 0.45]])
    report = summarize(planted_table(weights, ["george", "jackson"]))
    assert report.borrowed_from == (None, None)
    assert verdict(report)[:2] == [
        "george is served mainly by its own expert (90 % of the weight).",
        "One speaker has its own expert but is routed mainly to others: jackson to george 55 % "
        "(own expert: 45 %).",
    ]


@given(st.data())
def test_every_speaker_is_in_exactly_one_sentence(data: st.DataObject) -> None:
    speakers = [f"s{i}" for i in range(data.draw(st.integers(2, 4)))]
    own = data.draw(st.lists(st.sampled_from(speakers), unique=True))
    experts = [*own, "x", "y"]
    # Small integers give ties and weights exactly at the limits.
    parts = st.lists(st.integers(0, 6), min_size=len(experts), max_size=len(experts)).filter(any)
    drawn = np.array([data.draw(parts) for _ in speakers], dtype=float)
    report = summarize(
        planted_table(drawn / drawn.sum(axis=1, keepdims=True), speakers, experts, rows=2)
    )
    sentences = " ".join(verdict(report)).split("Effective number")[0]
    listed = re.findall(r"(?:: |; )(s\d) (?:to|by|\()", sentences)
    served = re.search(r"([^.]*) (?:is|are) served mainly by (?:its|their) own", sentences)
    listed += re.findall(r"s\d", served[1]) if served else []
    assert sorted(listed) == speakers


def test_one_expert() -> None:
    report = summarize(planted_table(np.ones((2, 1)), ["ann", "bob"], ["pooled"]))
    assert verdict(report) == ["There is one expert, pooled, so there is no routing."]


def test_one_speaker_without_an_expert() -> None:
    weights = np.array([[0.9, 0.1], [0.2, 0.8]])
    report = summarize(planted_table(weights, ["ann", "bob"], ["ann", "cy"]))
    assert verdict(report)[:2] == [
        "ann is served mainly by its own expert (90 % of the weight).",
        "One speaker without an expert of its own is served mainly by one expert: "
        "bob by cy (80 %).",
    ]
    alone = summarize(planted_table(weights[1:], ["bob"], ["ann", "cy"]))
    assert "Effective number of experts (of 2): 1.6 for bob, 1.6 per frame" in verdict(alone)[-1]


def test_information_about_speakers_and_phonemes(
    report: RoutingReport, document: RoutingDocument
) -> None:
    sentence = verdict(report, document)[-1]
    assert sentence.startswith("Mutual information between routing and speaker, above chance: ")
    assert "above chance: 0.60 of 2.58 bits (23 %, p ≤ 0.020); given the phoneme: " in sentence
    assert "; between routing and phoneme: no more than chance" in sentence
    chance = {"significant": False, "p": 0.4}
    other = changed_test(document, "speaker_beyond_phonemes", **chance)
    assert "given the phoneme: no more than chance (p = 0.40);" in verdict(report, other)[-1]
    other = changed_test(document, "speaker_information", corrected=-0.1, **chance)
    assert verdict(report, other)[-1] == (
        "Routing does not depend on the speaker more than by chance: mutual information above "
        "chance 0.00 of 2.58 bits (0 %, p = 0.40)."
    )


def test_a_significant_dependence_of_no_size_is_called_so(
    report: RoutingReport, document: RoutingDocument
) -> None:
    tiny = changed_test(document, "speaker_information", corrected=0.01, p=0.001, draws=999)
    assert "0.01 of 2.58 bits (<1 %, p ≤ 0.001)" in verdict(report, tiny)[-1]


def test_ablations(report: RoutingReport, document: RoutingDocument) -> None:
    some = with_ablations(document, [0.02, 0.085, 0, 0, -0.01, 0.011])
    assert verdict(report, some)[-1] == (
        "With uniform gate weights the error rate would rise from 3.6 % to 19.5 % (95 % interval "
        "+14.7 to +17.0 points); ablating bob_m1 costs most, +8.5 points (+7.5 to +9.5); 3 of 6 "
        "single ablations raise it significantly."
    )
    none = with_ablations(document, [0.0] * 6, uniform=-0.01, layer="block_2", utterances=5)
    assert verdict(report, none)[-1] == (
        "With uniform weights in block_2 the error rate would not change significantly, from 3.6 % "
        "to 2.6 % (95 % interval −2.2 to +0.1 points); ablating any single expert does not raise "
        "it significantly; changes measured on 5 of 12 utterances."
    )
    better = with_ablations(document, [0.0] * 6, uniform=-0.02)
    assert "the error rate would fall from 3.6 % to 1.6 % (95 %" in verdict(report, better)[-1]
    tiny = with_ablations(document, [0.0] * 6, uniform=0.0004)
    assert "not change significantly, from 3.60 % to 3.64 %" in verdict(report, tiny)[-1]
    still = with_ablations(document, [0.0] * 6, uniform=0.00001)
    assert "the error rate would stay at 3.60 % (95 %" in verdict(report, still)[-1]


def test_labels_that_are_no_speakers() -> None:
    weights = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    table = RoutingTable.of_labels(weights, [7, 7, 3, 7], label_name="digit")
    report = summarize(table, unit="image")
    assert table.experts == ("expert_0", "expert_1")
    assert report.speakers == ("3", "7")
    np.testing.assert_allclose(report.weights, [[0.3, 0.7], [2.2 / 3, 0.8 / 3]], atol=1e-7)
    sentences = verdict(report)
    assert sentences[0] == (
        "Two digits are each served mainly by one expert: digit 3 by expert_1 (70 %); "
        "digit 7 by expert_0 (73 %)."
    )
    assert "for the median digit, " in sentences[1]
    assert ", 1.8 per image, 1.9 over all images." in sentences[1]
    assert "speaker" not in " ".join(sentences)
    assert "frame" not in " ".join(sentences)
