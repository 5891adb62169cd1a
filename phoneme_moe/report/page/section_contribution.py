"""The blocks on contribution: credit for correct phonemes, and ablation of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import (
    from_to,
    in_percent,
    percent,
    plural,
    points,
    points_range,
    told_apart,
)
from phoneme_moe.report.page.charts import MOST_ROWS, Changes, Dumbbells, in_percent_of, most_used
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Figure, Table, row

Document = Mapping[str, Any]


def contribution_blocks(document: Document, order: Sequence[int]) -> list[Block]:
    """Blocks on credit compared with load, and on the error rate without each expert.

    Args:
        document: The report.
        order: Indices of the speakers on the page.
    """
    contribution = document.get("contribution") or {}
    blocks = []
    if contribution.get("credit"):
        blocks.append(_credit(document, np.asarray(contribution["credit"], dtype=float), order))
    if contribution.get("removal"):
        blocks.append(_ablation(document, contribution, order))
    return blocks


def _credit(document: Document, credit: np.ndarray, order: Sequence[int]) -> Block:
    experts = document["experts"]
    rows = np.asarray(document["counts"]["rows"], dtype=float)
    total = (credit * rows[:, None]).sum(axis=0) / rows.sum()
    load = np.asarray(document["load"], dtype=float)
    gap = total - load
    most, least = int(gap.argmax()), int(gap.argmin())
    if np.abs(gap).max() < 0.01:
        sentence = "The credit of every expert is close to its load."
    else:
        more, less = (told_apart(total[one], load[one]) for one in (most, least))
        sentence = (
            f"Expert {experts[most]} has more credit than load ({more[0]} of the "
            f"probability of correct phonemes for {more[1]} of the weight), "
            f"{experts[least]} less ({less[0]} for {less[1]})."
        )
    shown = most_used(load, total)
    figure = Figure(
        "credit",
        "Load and credit of every expert",
        "Load is the mean weight; credit is the expert’s share of the probability of the correct "
        "phoneme." + _fewer(len(shown), len(experts)),
        Dumbbells(
            [experts[e] for e in shown],
            in_percent_of(load[shown]),
            in_percent_of(total[shown]),
            ("load", "credit"),
            "share, %",
        ),
        legend=(("hollow", "load"), ("var(--second)", "credit")),
    )
    overall = [
        row(name, in_percent(load[e]), in_percent(total[e]), points(gap[e]))
        for e, name in enumerate(experts)
    ]
    by_speaker = HeatMap([document["speakers"][i] for i in order], experts, credit[order])
    head = ("expert", "load", "credit", "difference")
    return Block(
        "Contribution: credit and load",
        sentence,
        [figure],
        [
            Table("Load and credit, %", head, overall),
            by_speaker.table("Credit by speaker, %", filterable=True),
        ],
    )


def _ablation(document: Document, contribution: Mapping[str, Any], order: Sequence[int]) -> Block:
    experts, ablations = document["experts"], contribution["removal"]
    needed = [one for one in ablations if one["interval"][0] > 0]
    worst = max(ablations, key=lambda one: one["change"])
    # Measured on the same utterances, which may be a sample of the split.
    base = worst["error_rate"] - worst["change"]
    count = plural(contribution["removal_utterances"], "utterance")
    if needed:
        sentence = (
            f"Without {len(needed)} of {plural(len(ablations), 'expert')} the error rate rises "
            f"significantly, most without {experts[worst['expert']]}: "
            f"{from_to(base, worst['error_rate'])} ({count})."
        )
    else:
        sentence = (
            "No single expert is needed: the error rate without any one of them does not differ "
            f"significantly from {percent(base)} ({count})."
        )
    shown = sorted(ablations, key=lambda one: -abs(one["change"]))[:MOST_ROWS]
    shown.sort(key=lambda one: one["expert"])
    figure = Figure(
        "removal",
        "Change of the error rate without each expert, with 95 % interval",
        "Right of the line: more errors without the expert. Filled: the 95 % interval "
        "excludes 0." + _fewer(len(shown), len(ablations)),
        Changes(
            [experts[one["expert"]] for one in shown],
            in_percent_of([one["change"] for one in shown]),
            in_percent_of([one["interval"] for one in shown]),
        ),
    )
    rows = [
        row(
            experts[one["expert"]],
            in_percent(one["error_rate"]),
            points(one["change"]),
            points_range(*one["interval"]),
        )
        for one in ablations
    ]
    by_speaker = [
        row(document["speakers"][i], *(points(one["by_speaker"][i]) for one in ablations))
        for i in order
    ]
    head = ("expert", "error rate without it, %", "change, points", "95 % interval")
    without = ("speaker", *(experts[one["expert"]] for one in ablations))
    return Block(
        "Contribution: ablation of single experts",
        sentence,
        [figure],
        [
            Table("Error rate without each expert", head, rows),
            Table("Change by speaker, points", without, by_speaker, filterable=True),
        ],
    )


def _fewer(shown: int, total: int) -> str:
    return "" if shown == total else f" The {shown} most notable; the table has all {total}."
