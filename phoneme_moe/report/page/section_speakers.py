"""The section that shows who is served by whose expert, and what that is worth.

Legend: S speakers, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import names, percent
from phoneme_moe.report.page.charts import blends
from phoneme_moe.report.page.heat_map import HeatMap, colour_top
from phoneme_moe.report.page.heat_plot import draw_heat_map
from phoneme_moe.report.page.parts import (
    Block,
    Cell,
    Figure,
    Section,
    Table,
    number,
    per_cent,
    plural,
    shade,
    small,
)
from phoneme_moe.report.page.section_worth import worth_blocks

#: Most speakers, and most cells, on the page; thousands would make a file of many megabytes.
MOST_SPEAKERS, _MOST_CELLS = 250, 8_000

Document = Mapping[str, Any]


def speakers_section(document: Document) -> Section | None:
    """Speaker by expert: heat map, numbers, blend or switch, contribution."""
    if not document.get("weights") or not document.get("experts"):
        return None
    order = speaker_order(document)
    blocks = [
        _heat(document, order),
        _blend_or_switch(document, order),
        *worth_blocks(document, order),
    ]
    return Section("speakers", "Which expert serves whom", [b for b in blocks if b is not None])


def speaker_order(document: Document) -> list[int]:
    """Indices of the speakers on the page, alike ones next to each other."""
    clustering = document.get("clustering")
    total = len(document["speakers"])
    order = list(clustering["speaker_order"]) if clustering else list(range(total))
    most = max(1, min(MOST_SPEAKERS, _MOST_CELLS // len(document["experts"])))
    if total <= most:
        return order
    spread = np.argsort(-np.asarray(document["effective_experts"]), kind="stable")
    kept = set(spread[:most].tolist())
    return [i for i in order if i in kept]


def expert_order(document: Document) -> list[int]:
    """Indices of the experts, alike ones next to each other."""
    clustering = document.get("clustering")
    return list(clustering["expert_order"]) if clustering else list(range(len(document["experts"])))


def _heat(document: Document, order: Sequence[int]) -> Block:
    speakers, experts = document["speakers"], document["experts"]
    columns = expert_order(document)
    weights = np.asarray(document["weights"], dtype=float)
    adjusted = _array(document.get("adjusted_weights"))
    intervals = _array(document.get("weight_intervals"))
    effective = np.asarray(document["effective_experts"], dtype=float)
    inside = np.asarray(document["effective_per_row"], dtype=float)
    own = [experts.index(name) if name in experts else None for name in speakers]
    drawn = np.ix_(order, columns)
    unit = document["unit"]
    what = HeatMap(
        rows=[speakers[i] for i in order],
        columns=[experts[i] for i in columns],
        weights=weights[drawn],
        adjusted=None if adjusted is None else adjusted[drawn],
        intervals=None if intervals is None else intervals[drawn],
        facts={
            f"{unit}s": [document["counts"]["rows"][i] for i in order],
            "utterances": [document["counts"]["utterances"][i] for i in order],
        },
        own=[None if (o := own[i]) is None else columns.index(o) for i in order],
        effective=effective[order],
        inside=inside[order],
        tree=_tree(document, order),
        unit=unit,
    )
    notes = ["each row sums to 100"]
    if any(o is not None for o in own):
        notes.append("outlined: the speaker’s own expert")
    if what.tree is not None:
        notes.append("tree: speakers that join early are served alike")
    notes.append(f"bar: experts in effect over all {unit}s, tick: within one {unit}")
    figure = Figure(
        "heat-speakers",
        f"Heat map of mean gate weights, {plural(len(order), 'speaker')} down, "
        f"{plural(len(columns), 'expert')} across; the table below has every number",
        "Mean gate weight in %, " + "; ".join(notes) + ".",
        draw_heat_map(what),
        what.height,
        what.min_width,
        top=what.top,
    )
    tables = [_weights_table(document, order, columns, "weights"), _numbers(document, order)]
    if adjusted is not None:
        tables.insert(1, _weights_table(document, order, columns, "adjusted_weights"))
    shown = "" if len(order) == len(speakers) else f" The page shows the {len(order)} speakers "
    if shown:
        shown += f"with most experts in effect; all {len(speakers):,} are in the data files."
    return Block(
        "",
        _sentence(document) + shown,
        [figure],
        tables,
        controls="speakers",
        id="speakers",
        extra={"adjusted": adjusted is not None, "count": len(order)},
    )


def _sentence(document: Document) -> str:
    """Owners, blends, and what adjusting for the phoneme mix changes."""
    speakers, weights = document["speakers"], np.asarray(document["weights"], dtype=float)
    main = int((weights.max(axis=1) >= 0.5).sum())
    owners = sum((share or 0) >= 0.5 for share in document["own_share"])
    total = len(speakers)
    told = f"{main} of {plural(total, 'speaker')} give most of their weight to one expert"
    if any(share is not None for share in document["own_share"]):
        told += f", {owners} of them to the expert trained on them" if main else ""
    effective = float(np.median(document["effective_experts"]))
    told += f"; the median speaker has {effective:.1f} experts in effect"
    adjusted = _array(document.get("adjusted_weights"))
    if adjusted is None:
        return told + "."
    change = np.abs(adjusted - weights)
    speaker, expert = np.unravel_index(int(change.argmax()), change.shape)
    if change.max() < 0.02:
        return told + ". What was said hardly matters: the same phoneme mix moves no weight by 2 %."
    return (
        f"{told}. With the same phoneme mix for all, no weight moves by more than "
        f"{100 * change.max():.0f} points (speaker {speakers[speaker]}, expert "
        f"{document['experts'][expert]})."
    )


def _weights_table(
    document: Document, order: Sequence[int], columns: Sequence[int], key: str
) -> Table:
    weights, experts = document[key], document["experts"]
    top = colour_top(np.asarray(document["weights"], dtype=float))
    intervals = document.get("weight_intervals") if key == "weights" else None
    rows = []
    for i in order:
        name = document["speakers"][i]
        cells = [
            Cell(
                per_cent(weights[i][e]),
                _ends(intervals[i][e]) if intervals else "",
                shade(weights[i][e], top),
                experts[e] == name,
            )
            for e in columns
        ]
        rows.append((name, cells))
    if key == "weights":
        load = document["load"]
        overall = [Cell(per_cent(load[e]), "", shade(load[e], top)) for e in columns]
        rows.append(("all speakers", overall))
    caption = "Mean gate weight in %" + (", with 95 % interval" if intervals else "")
    if key != "weights":
        said = names(document.get("adjusted_phonemes") or [], 12)
        caption = f"The same, every speaker with the same mix of the phonemes {said}"
    return Table(caption, ("speaker", *(experts[e] for e in columns)), rows, filterable=True)


def _numbers(document: Document, order: Sequence[int]) -> Table:
    """What is known of every speaker, in words and numbers."""
    mixing = document.get("mixing") or [None] * len(document["speakers"])
    own_tests = {
        test["scope"]: test for test in document.get("tests") or [] if test["name"] == "own_share"
    }
    rows = []
    for i in order:
        name, share = document["speakers"][i], document["own_share"][i]
        test, lender = own_tests.get(name), document["borrowed_from"][i]
        told = [f"borrows from {lender}"] if lender else []
        told += ["blend"] if document["blended"][i] else []
        rows.append(
            (
                name,
                (
                    Cell(f"{document['counts']['rows'][i]:,}"),
                    Cell(f"{document['counts']['utterances'][i]:,}"),
                    Cell(document["most_used"][i]),
                    Cell(per_cent(max(document["weights"][i]))),
                    Cell("–" if share is None else per_cent(share)),
                    Cell(small(test["q"]) if test else "–"),
                    Cell(number(document["effective_experts"][i])),
                    Cell(number(document["effective_per_row"][i])),
                    Cell("–" if mixing[i] is None else per_cent(mixing[i])),
                    Cell(", ".join(told), tag=bool(told)),
                ),
            )
        )
    unit = document["unit"]
    head = ["speaker", f"{unit}s", "utterances", "most used expert", "its weight, %"]
    head += ["own expert, %", "q", "experts in effect", f"within one {unit}", "blend, %", "remark"]
    return Table(
        "Every speaker in numbers", head, rows, frozenset({2, 9}), filterable=True, id="numbers"
    )


def _blend_or_switch(document: Document, order: Sequence[int]) -> Block | None:
    mixing = document.get("mixing")
    if not mixing or all(share is None for share in mixing):
        return None
    effective = document["effective_experts"]
    spread = [i for i, share in enumerate(mixing) if share is not None and effective[i] >= 1.5]
    unit = document["unit"]
    if not spread:
        sentence = "Every speaker is served by about one expert: there is nothing to blend."
    else:
        share = float(np.median([mixing[i] for i in spread]))
        does = f"blends within a {unit}" if share >= 0.5 else f"switches between {unit}s"
        sentence = (
            f"{plural(len(spread), 'speaker')} spread over more than one expert; for the median of "
            f"them the gate {does}: {percent(share)} of the spread is mixing inside a {unit}."
        )
    figure = Figure(
        "blend",
        "Scatter of speakers: experts in effect across, how much of it is a blend upwards",
        f"Right: served by many experts. Top: by several at once in every {unit}; "
        f"bottom: by one at a time.",
        blends(
            [document["speakers"][i] for i in order],
            [effective[i] for i in order],
            [mixing[i] for i in order],
            len(document["experts"]),
        ),
        340,
    )
    return Block("Blend or switch", sentence, [figure], [_blend_table(document, order)])


def _blend_table(document: Document, order: Sequence[int]) -> Table:
    mixing = document["mixing"]
    rows = [
        (
            document["speakers"][i],
            (
                Cell(number(document["effective_experts"][i])),
                Cell(number(document["effective_per_row"][i])),
                Cell("–" if mixing[i] is None else per_cent(mixing[i])),
            ),
        )
        for i in order
    ]
    head = ("speaker", "experts in effect", f"within one {document['unit']}", "blend, % of spread")
    return Table("Blend or switch", head, rows, filterable=True)


def _tree(document: Document, order: Sequence[int]) -> list[list[float]] | None:
    """The linkage with leaves numbered in drawing order; None where it is not of these speakers."""
    linkage = (document.get("clustering") or {}).get("linkage")
    if not linkage or len(linkage) != len(order) - 1 or len(order) != len(document["speakers"]):
        return None
    place = {speaker: row for row, speaker in enumerate(order)}
    return [[place.get(int(a), a), place.get(int(b), b), *rest] for a, b, *rest in linkage]


def _array(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=float)


def _ends(interval: Sequence[float]) -> str:
    return f"{per_cent(interval[0])}–{per_cent(interval[1])}"
