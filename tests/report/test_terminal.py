from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.terminal import routing_table_text


def printed(report: RoutingReport, width: int = 80, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width).print(routing_table_text(report, width))
    file.flush()
    raw: bytes = file.buffer.getvalue()
    return raw.decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_six_experts_fit_side_by_side_in_80_columns(report: RoutingReport, encoding: str) -> None:
    text = printed(report, encoding=encoding)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(name in text for name in report.experts)
    mht = next(line for line in lines if line.strip(" |").startswith("mht"))
    assert mht.replace("|", " ").split() == [
        *("mht", "1", "88", "6", "1", "3*", "1"),
        *(f"{report.effective_experts[4]:.1f}", "3", "%"),
    ]
    assert "\x1b" not in text


def test_many_experts_are_named_by_weight(plant: Callable[..., RoutingTable]) -> None:
    weights = np.full((2, 20), 0.01)
    weights[0, [7, 3]] = [0.52, 0.30]
    weights[1, [0, 1]] = [0.42, 0.40]
    report = summarize(plant(weights, ["ann", "bob"], ["bob", *(f"expert_{i}" for i in range(19))]))
    text = printed(report)
    assert "expert_6 52" in text
    assert "bob* 42" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_large_corpus_is_cut_to_the_most_blended(large: RoutingReport) -> None:
    text = printed(large)
    assert "20 of 125 speakers" in text
    assert len(text.splitlines()) < 35
    assert max(map(len, text.splitlines())) <= 80
    assert "Dead: expert_15" in " ".join(text.split())


def test_brackets_in_names_are_not_markup(plant: Callable[..., RoutingTable]) -> None:
    report = summarize(plant(np.eye(2), ["[red]ann", "bob"], ["[bold]x", "y"]))
    text = printed(report)
    assert "[red]ann" in text
    assert "[bold]x" in text


def test_one_expert_has_no_table(plant: Callable[..., RoutingTable]) -> None:
    report = summarize(plant(np.ones((2, 1)), ["ann", "bob"], ["pooled"]))
    assert (
        printed(report).strip() == "One expert, pooled, serves every speaker: there is no routing."
    )
