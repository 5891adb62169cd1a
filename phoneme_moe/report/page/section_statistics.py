"""The sections on significance, and on the cost of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phoneme_moe.report.number_format import number, plural, probability
from phoneme_moe.report.page.parts import Block, Cell, Section, Table, row

Document = Mapping[str, Any]

_NAMES = {
    "speaker_information": "information about the speaker",
    "phoneme_information": "information about the phoneme",
    "speaker_beyond_phonemes": "information about the speaker, given the phoneme",
    "interaction": "interaction of speaker and phoneme",
    "cramers_v": "Cramér’s V of speaker and expert",
    "own_share": "weight of the speaker's own expert",
}


def statistics_section(document: Document) -> Section | None:
    """The section: all tests with chance level, p and q."""
    tests = document.get("tests")
    if not tests:
        return None
    rows = []
    for test in tests:
        name = _NAMES.get(test["name"], test["name"].replace("_", " "))
        rows.append(
            row(
                name if test["scope"] is None else f"{name}: {test['scope']}",
                *(number(test[key], 3) for key in ("value", "chance", "corrected")),
                test["unit"],
                probability(test["p"], test["draws"]),
                probability(test["q"]),
                Cell("significant" if test["significant"] else "not significant", tag=True),
            )
        )
    significant = sum(test["significant"] for test in tests)
    draws = max(test["draws"] for test in tests)
    sentence = (
        f"{significant or 'None'} of {plural(len(tests), 'test')} "
        f"{'is' if significant < 2 else 'are'} significant at a false discovery rate of 5 %; "
        f"chance is {draws:,} permutations of whole utterances."
    )
    table = Table(
        "Value, its mean under permutation, their difference, p, and q (Benjamini and Hochberg)",
        ("test", "value", "chance", "beyond chance", "unit", "p", "q", "verdict"),
        rows,
        frozenset({3, 6}),
        id="tests",
    )
    block = Block("", sentence, tables=[table], open_tables=len(rows) <= 24)
    return Section("statistics", "Significance", [block])


def cost_section(document: Document) -> Section | None:
    """The section: parameters, operations per frame or token, memory."""
    cost, unit = document.get("cost"), document.get("unit") or "frame"
    if not cost:
        return None
    total, active = cost.get("parameters"), cost.get("active_parameters")
    work, step = cost.get("multiply_adds_per_frame"), cost.get("frame_ms")
    clauses = []
    if total and active:
        share = 100 * active / total
        clauses.append(
            f"All {_short(total)} parameters are active in every {unit}"
            if active == total
            else f"{_short(active)} of {_short(total)} parameters ({share:.0f} %) are active"
        )
    if work and unit == "token":
        clauses.append(f"a token takes {_short(work)} multiply-adds")
    elif work and step:
        clauses.append(f"a second of speech takes {_short(work * 1000 / step)} multiply-adds")
    values = {
        "parameters": _count(total),
        "active parameters": _count(active),
        f"multiply-adds per {unit}": _count(work),
        f"{unit}, ms": "" if step is None else f"{step:g}",
        "weights, bytes": _count(cost.get("weight_bytes")),
    }
    rows = [row(name, value) for name, value in values.items() if value]
    sentence = "; ".join(clauses) or "size and cost of the model"
    table = Table("Size and cost of the model", ("quantity", "value"), rows, id="cost-table")
    block = Block("", f"{sentence[0].upper()}{sentence[1:]}.", tables=[table], open_tables=True)
    return Section("cost", "Cost", [block])


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}\u00a0{letter}"
    return f"{value:.0f}"
