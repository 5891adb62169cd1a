"""The section that says what is more than chance, and the one on cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phoneme_moe.report.page.parts import Block, Cell, Section, Table, number, plural, small

Document = Mapping[str, Any]

_NAMES = {
    "speaker_information": "information about the speaker",
    "phoneme_information": "information about the phoneme",
    "speaker_beyond_phonemes": "information about the speaker beyond phonemes",
    "interaction": "interaction of speaker and phoneme",
    "cramers_v": "Cramér’s V of speaker and expert",
    "own_share": "weight of the own expert",
}


def statistics_section(document: Document) -> Section | None:
    """Every test with its chance level, p and q."""
    tests = document.get("tests")
    if not tests:
        return None
    rows = []
    for test in tests:
        name = _NAMES.get(test["name"], test["name"].replace("_", " "))
        rows.append(
            (
                name if test["scope"] is None else f"{name}: {test['scope']}",
                (
                    Cell(number(test["value"], 3)),
                    Cell(number(test["chance"], 3)),
                    Cell(number(test["corrected"], 3)),
                    Cell(test["unit"]),
                    Cell(small(test["p"])),
                    Cell(small(test["q"])),
                    Cell("real" if test["significant"] else "could be chance", tag=True),
                ),
            )
        )
    real = sum(test["significant"] for test in tests)
    draws = max(test["draws"] for test in tests)
    subject = "Nothing" if real == 0 else f"{real} of {plural(len(tests), 'test')}"
    verb = "stands" if real in (0, 1) else "stand"
    sentence = (
        f"{subject} {verb} against chance when at most 5 % of what stands may be a false alarm; "
        f"chance is {draws:,} permutations of whole utterances."
    )
    head = ("what", "value", "chance", "corrected", "unit", "p", "q", "verdict")
    table = Table(
        "Value, its mean under permutation, their difference, p, and q (Benjamini and Hochberg)",
        head,
        rows,
        frozenset({3, 6}),
        id="tests",
    )
    folded = len(rows) > 24
    return Section(
        "statistics",
        "Is it real?",
        [Block("", sentence, tables=[table], open_tables=not folded)],
    )


def cost_section(document: Document) -> Section | None:
    """Parameters, work per frame, memory."""
    cost = document.get("cost")
    if not cost:
        return None
    total, active = cost.get("parameters"), cost.get("active_parameters")
    work, step = cost.get("multiply_adds_per_frame"), cost.get("frame_ms")
    told = []
    if total and active:
        part = 100 * active / total
        told.append(
            f"All {_short(total)} parameters work on every frame"
            if active == total
            else f"{_short(active)} of {_short(total)} parameters ({part:.0f} %) work on a frame"
        )
    if work and step:
        told.append(f"a second of speech takes {_short(work * 1000 / step)} multiply-adds")
    rows = [
        (name, (Cell(value),))
        for name, value in (
            ("parameters", _count(total)),
            ("active parameters", _count(active)),
            ("multiply-adds per frame", _count(work)),
            ("frame, ms", "" if step is None else f"{step:g}"),
            ("weights, bytes", _count(cost.get("weight_bytes"))),
        )
        if value
    ]
    sentence = "; ".join(told)
    sentence = f"{sentence[:1].upper()}{sentence[1:]}." if told else "What the model needs to run."
    table = Table("Size and work of the model", ("what", "number"), rows, id="cost-table")
    return Section("cost", "Cost", [Block("", sentence, tables=[table], open_tables=True)])


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}\u00a0{letter}"
    return f"{value:.0f}"
