from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from conftest import planted_table, typed_document

from phoneme_moe.corpora import UNLABELLED
from phoneme_moe.data.examples import Example
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.caveats import caveats
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import TrainingHistory, UtteranceView


def sentences(
    document: RoutingDocument, phonemes: tuple[str, ...] = ("a",), refusal: str | None = None
) -> str:
    recognizer = cast(Recognizer, SimpleNamespace(phonemes=SimpleNamespace(symbols=("a", "b"))))
    example = Example("u", "ann", phonemes, torch.zeros(3, 4))
    return " ".join(caveats(document, recognizer, [example], refusal))


@pytest.mark.parametrize(
    ("speaker", "sentence"),
    [("ann", "only one speaker, ann"), (UNLABELLED, "no speaker labels")],
)
def test_one_speaker(speaker: str, sentence: str) -> None:
    document = typed_document(planted_table(np.array([[0.3, 0.7]]), [speaker], ["x", "y"]))
    assert sentence in sentences(document)
    assert document.clustering is None
    assert {test.name for test in document.tests} == {"phoneme_information"}


def test_no_phonemes() -> None:
    table = planted_table()
    silent = RoutingTable(
        table.experts, table.speakers, (), table.utterances, table.weights, table.speaker,
        np.full_like(table.phoneme, -1), table.utterance,
    )  # fmt: skip
    document = typed_document(silent)
    assert "No frame has a phoneme" in sentences(document, ())
    assert "1 of 1 utterances have no phonemes" in sentences(document, ())
    assert document.adjusted_weights is None
    assert {test.name for test in document.tests} == {
        "speaker_information",
        "cramers_v",
        "own_share",
    }


def test_one_expert_and_refusals(odd_table: RoutingTable) -> None:
    assert "one expert and no gate" in sentences(typed_document(odd_table, unit="token"))
    refusal = "the gate is the speaker's identity"
    assert f"not ablated: {refusal}." in sentences(typed_document(planted_table()), refusal=refusal)


def test_an_unknown_phoneme_is_named() -> None:
    document = typed_document(planted_table())
    assert "Phonemes unknown to the model: z." in sentences(document, ("a", "z"))


def test_a_whole_report_misses_nothing_but_what_needs_a_model() -> None:
    document = typed_document(planted_table())
    contribution = document.contribution.model_copy(update={"credit": [[1.0]]})
    complete = document.model_copy(
        update={
            "contribution": contribution,
            "training": TrainingHistory(epochs=[], layers=[]),
            "utterances": [UtteranceView.model_construct()],
        }
    )
    assert sentences(complete) == ""
