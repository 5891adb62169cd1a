"""What experts contribute: their credit for right phonemes, and the error without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import percent
from phoneme_moe.report.page.charts import changes, dumbbells
from phoneme_moe.report.page.heat_map import colour_top
from phoneme_moe.report.page.parts import (
    Block,
    Cell,
    Figure,
    Table,
    per_cent,
    plural,
    shade,
    signed,
)
from phoneme_moe.report.page.plots import rows_height

#: Most experts in a chart with one row per expert.
_MOST_EXPERTS = 24

Document = Mapping[str, Any]


def worth_blocks(document: Document, order: Sequence[int]) -> list[Block]:
    """Credit beside load, and the error without each expert.

    Args:
        document: The report.
        order: Indices of the speakers on the page.
    """
    worth = document.get("contribution") or {}
    found = []
    if worth.get("credit"):
        found.append(_credit(document, worth["credit"], order))
    if worth.get("removal"):
        found.append(_removal(document, worth, order))
    return found


def _credit(document: Document, credit: Sequence[Sequence[float]], order: Sequence[int]) -> Block:
    experts = document["experts"]
    rows = np.asarray(document["counts"]["rows"], dtype=float)
    total = (np.asarray(credit, dtype=float) * rows[:, None]).sum(axis=0) / rows.sum()
    load = np.asarray(document["load"], dtype=float)
    gap = total - load
    most, least = int(gap.argmax()), int(gap.argmin())
    if np.abs(gap).max() < 0.01:
        sentence = "Every expert earns about as much credit for right answers as it is asked."
    else:
        sentence = (
            f"Expert {experts[most]} earns more than it is asked ({percent(total[most])} of the "
            f"probability of right phonemes for {percent(load[most])} of the weight), "
            f"{experts[least]} less ({percent(total[least])} for {percent(load[least])})."
        )
    shown = sorted(np.argsort(-np.maximum(load, total), kind="stable")[:_MOST_EXPERTS].tolist())
    figure = Figure(
        "credit",
        "Load and credit of every expert",
        "Load is the mean weight; credit is the part of the right phoneme’s probability that came "
        "from the expert." + _fewer(len(shown), len(experts)),
        dumbbells(
            [experts[e] for e in shown], load[shown], total[shown], ("load", "credit"), "share, %"
        ),
        rows_height(len(shown), 22, 58),
        legend=(("hollow", "load"), ("var(--second)", "credit")),
    )
    top = colour_top(np.asarray(credit, dtype=float))
    overall = [
        (name, (Cell(per_cent(load[e])), Cell(per_cent(total[e])), Cell(signed(100 * gap[e]))))
        for e, name in enumerate(experts)
    ]
    by_speaker = [
        (
            document["speakers"][i],
            [Cell(per_cent(part), shade=shade(part, top)) for part in credit[i]],
        )
        for i in order
    ]
    return Block(
        "Contribution: credit beside load",
        sentence,
        [figure],
        [
            Table("Load and credit, %", ("expert", "load", "credit", "difference"), overall),
            Table("Credit by speaker, %", ("speaker", *experts), by_speaker, filterable=True),
        ],
    )


def _removal(document: Document, worth: Mapping[str, Any], order: Sequence[int]) -> Block:
    experts, speakers, removal = document["experts"], document["speakers"], worth["removal"]
    hurt = [one for one in removal if one["interval"][0] > 0]
    worst = max(removal, key=lambda one: one["change"])
    # On the same utterances, which may be a sample of the split.
    base = worst["error_rate"] - worst["change"]
    count = plural(worth["removal_utterances"], "utterance")
    if hurt:
        sentence = (
            f"{len(hurt)} of {plural(len(removal), 'expert')} cannot be spared: without "
            f"{experts[worst['expert']]} the error rate rises most, from {percent(base)} to "
            f"{percent(worst['error_rate'])} ({count})."
        )
    else:
        sentence = (
            f"No expert is missed for certain: without any one of them the error rate of "
            f"{percent(base)} stays within its interval ({count})."
        )
    shown = sorted(removal, key=lambda one: -abs(one["change"]))[:_MOST_EXPERTS]
    shown.sort(key=lambda one: one["expert"])
    figure = Figure(
        "removal",
        "Change of the error rate when an expert is removed, with 95 % interval",
        "Right of the line: recognition is worse without the expert. Filled: the 95 % interval "
        "leaves 0 out." + _fewer(len(shown), len(removal)),
        changes(
            [experts[one["expert"]] for one in shown],
            [one["change"] for one in shown],
            [one["interval"] for one in shown],
        ),
        rows_height(len(shown), 22, 58),
    )
    rows = [
        (
            experts[one["expert"]],
            (
                Cell(per_cent(one["error_rate"])),
                Cell(signed(100 * one["change"])),
                Cell(" to ".join(signed(100 * end) for end in one["interval"])),
            ),
        )
        for one in removal
    ]
    by_speaker = [
        (
            speakers[i],
            [
                Cell("–" if (c := one["by_speaker"][i]) is None else signed(100 * c))
                for one in removal
            ],
        )
        for i in order
    ]
    head = ("expert", "error rate without it, %", "change, points", "95 % interval")
    without = ("speaker", *(experts[one["expert"]] for one in removal))
    return Block(
        "Contribution: recognition without an expert",
        sentence,
        [figure],
        [
            Table("Error rate without each expert", head, rows),
            Table("Change by speaker, points", without, by_speaker, filterable=True),
        ],
    )


def _fewer(shown: int, total: int) -> str:
    return "" if shown == total else f" The {shown} that stand out; the table has all {total}."
