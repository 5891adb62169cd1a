from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import planted_table

from phoneme_moe.corpora import UNLABELLED
from phoneme_moe.data.examples import Example
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.caveats import what_is_missing
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.contribution import Contribution


def told(
    document: dict[str, Any], phonemes: tuple[str, ...] = ("a",), refusal: str | None = None
) -> str:
    knows = cast(Recognizer, SimpleNamespace(phonemes=SimpleNamespace(symbols=("a", "b"))))
    example = Example("u", "ann", phonemes, torch.zeros(3, 4))
    found = Contribution(0.1, None, None, 0, refusal)
    return " ".join(what_is_missing(document, knows, found, [example]))


@pytest.mark.parametrize(
    ("speaker", "sentence"),
    [("ann", "one speaker only, ann"), (UNLABELLED, "does not say who speaks")],
)
def test_one_speaker(
    speaker: str, sentence: str, documented: Callable[..., dict[str, Any]]
) -> None:
    table = planted_table(np.array([[0.3, 0.7]]), [speaker], ["x", "y"])
    document = documented(table)
    assert sentence in told(document)
    assert document["clustering"] is None
    assert {test["name"] for test in document["tests"]} == {"phoneme_information"}


def test_no_phonemes(documented: Callable[..., dict[str, Any]]) -> None:
    table = planted_table()
    silent = RoutingTable(
        table.experts, table.speakers, (), table.utterances, table.weights, table.speaker,
        np.full_like(table.phoneme, -1), table.utterance,
    )  # fmt: skip
    document = documented(silent)
    assert "No frame has a phoneme" in told(document, ())
    assert "1 of 1 utterances have no phonemes" in told(document, ())
    assert document["adjusted_weights"] is None
    assert {test["name"] for test in document["tests"]} == {
        "speaker_information",
        "cramers_v",
        "own_share",
    }


def test_one_expert_and_refusals(
    odd_table: RoutingTable, documented: Callable[..., dict[str, Any]]
) -> None:
    assert "one expert and no gate" in told(documented(odd_table, unit="token"))
    assert "not asked: the gate is who speaks." in told(
        documented(planted_table()), refusal="the gate is who speaks"
    )


def test_an_unknown_phoneme_is_named(documented: Callable[..., dict[str, Any]]) -> None:
    assert "does not know the phonemes z." in told(documented(planted_table()), ("a", "z"))


def test_a_whole_report_misses_nothing_but_what_needs_a_model(
    documented: Callable[..., dict[str, Any]],
) -> None:
    document = documented(planted_table())
    document["contribution"]["credit"] = [[1.0]]
    document |= {"training": {}, "utterances": [{}]}
    assert told(document) == ""
