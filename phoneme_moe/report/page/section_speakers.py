"""The section on gate weights by speaker: heat map, numbers, mixing or switching, contribution.

Legend: S speakers, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import (
    DASH,
    in_percent,
    names,
    number,
    percent,
    plural,
    probability,
)
from phoneme_moe.report.page.cell_links import Cells, cell_links
from phoneme_moe.report.page.charts import MixingScatter, in_percent_of
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Cell, Figure, Section, Table, row
from phoneme_moe.report.page.section_contribution import contribution_blocks
from phoneme_moe.report.serving import MAIN_SHARE, serving

#: Maximum number of speakers and of cells, to limit the size of the page.
MOST_SPEAKERS, _MOST_CELLS = 250, 8_000

Document = Mapping[str, Any]


def speakers_section(document: Document, clips: Cells = ()) -> Section | None:
    """The section: speakers by experts, numbers, mixing or switching, contribution.

    Args:
        document: The content of ``routing.json``.
        clips: Cells with clips beside the page.
    """
    if not document.get("weights") or not document.get("experts"):
        return None
    order = speaker_order(document)
    blocks = [
        _weights(document, order, clips),
        _mixing(document, order),
        *contribution_blocks(document, order),
    ]
    return Section("speakers", "Gate weights by speaker", [b for b in blocks if b is not None])


def speaker_order(document: Document) -> list[int]:
    """Indices of the speakers on the page, with similar ones adjacent."""
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
    """Indices of the experts, with similar ones adjacent."""
    clustering = document.get("clustering")
    return list(clustering["expert_order"]) if clustering else list(range(len(document["experts"])))


def _weights(document: Document, order: Sequence[int], clips: Cells) -> Block:
    speakers, experts, unit = document["speakers"], document["experts"], document["unit"]
    columns = expert_order(document)
    cells = np.ix_(order, columns)
    adjusted = _array(document.get("adjusted_weights"))
    intervals = _array(document.get("weight_intervals"))
    place = {experts[e]: column for column, e in enumerate(columns)}
    counts = document["counts"]
    heat = HeatMap(
        rows=[speakers[i] for i in order],
        columns=[experts[e] for e in columns],
        weights=np.asarray(document["weights"], dtype=float)[cells],
        adjusted=None if adjusted is None else adjusted[cells],
        intervals=None if intervals is None else intervals[cells],
        facts={
            f"{unit}s": [counts["rows"][i] for i in order],
            "utterances": [counts["utterances"][i] for i in order],
        },
        outlined=[place.get(speakers[i]) for i in order],
        outline="own expert",
        effective=np.asarray(document["effective_experts"], dtype=float)[order],
        within=np.asarray(document["effective_per_row"], dtype=float)[order],
        tree=_tree(document, order),
        unit=unit,
        links=cell_links(
            "speaker", [speakers[i] for i in order], [experts[e] for e in columns], clips
        ),
    )
    notes = ["rows sum to 100"]
    if any(column is not None for column in heat.outlined):
        notes.append("outlined: the speaker’s own expert")
    beside = f"Bar: effective number of experts over all {unit}s, tick: within one {unit}."
    if heat.tree is not None:
        beside = f"Tree: speakers that join early have similar weights. {beside}"
    caption = f"Mean gate weight in %, {'; '.join(notes)}."
    figure = heat.figure("heat-speakers", "mean gate weights", caption, beside)
    load = np.asarray(document["load"], dtype=float)[columns]
    caption = "Mean gate weight in %" + ("" if intervals is None else ", with 95 % interval")
    tables = [heat.table(caption, total=("all speakers", load), filterable=True)]
    if heat.adjusted is not None:
        phonemes = names(document.get("adjusted_phonemes") or [], 12)
        caption = f"The same, adjusted: every speaker with the same mix of the phonemes {phonemes}"
        tables.append(heat.table(caption, weights=heat.adjusted, filterable=True))
    sentence = _sentence(document)
    if len(order) < len(speakers):
        sentence += (
            f" The page shows the {len(order)} speakers with the most effective experts; all "
            f"{len(speakers):,} are in the data files."
        )
    return Block(
        "",
        sentence,
        [figure],
        [*tables, _numbers(document, order)],
        controls="speakers",
        id="speakers",
        data={"adjusted": adjusted is not None, "count": len(order)},
    )


def _sentence(document: Document) -> str:
    """Sentence on main experts, effective number of experts and the phoneme mix."""
    speakers, weights = document["speakers"], np.asarray(document["weights"], dtype=float)
    main = int((weights.max(axis=1) >= MAIN_SHARE).sum())
    matched = sum((share or 0) >= MAIN_SHARE for share in document["own_share"])
    total = plural(len(speakers), "speaker")
    sentence = f"{main} of {total} have most of their weight on one expert"
    if main and any(share is not None for share in document["own_share"]):
        sentence += f", {matched} of them on their own expert"
    effective = float(np.median(document["effective_experts"]))
    sentence += f"; the median effective number of experts is {effective:.1f}."
    adjusted = _array(document.get("adjusted_weights"))
    if adjusted is None:
        return sentence
    change = np.abs(adjusted - weights)
    if change.max() < 0.02:
        return (
            f"{sentence} Adjusting for the phonemes spoken changes no weight by 2 points or more."
        )
    speaker, expert = np.unravel_index(int(change.argmax()), change.shape)
    return (
        f"{sentence} Adjusting for the phonemes spoken changes weights by up to "
        f"{100 * change.max():.0f} points (speaker {speakers[speaker]}, expert "
        f"{document['experts'][expert]})."
    )


def _numbers(document: Document, order: Sequence[int]) -> Table:
    """Table of all values of each speaker."""
    mixing = document.get("mixing") or [None] * len(document["speakers"])
    place = {expert: index for index, expert in enumerate(document["experts"])}
    cases = serving(
        np.asarray(document["weights"], dtype=float), [*map(place.get, document["speakers"])]
    )
    tests = {
        test["scope"]: test for test in document.get("tests") or [] if test["name"] == "own_share"
    }
    measures = list((document.get("measures") or {}).values())
    rows = []
    for i in order:
        name, share = document["speakers"][i], document["own_share"][i]
        test = tests.get(name)
        remark = {
            "other": f"routed to {document['most_used'][i]}",
            "blend": "blend",
            "none": "no main expert",
        }.get(cases[i], "")
        rows.append(
            row(
                name,
                f"{document['counts']['rows'][i]:,}",
                f"{document['counts']['utterances'][i]:,}",
                document["most_used"][i],
                in_percent(max(document["weights"][i])),
                _share(share),
                probability(test["q"]) if test else DASH,
                number(document["effective_experts"][i]),
                number(document["effective_per_row"][i]),
                _share(mixing[i]),
                *(_number(values["by_speaker"][i]) for values in measures),
                Cell(remark, tag=bool(remark)),
            )
        )
    unit = document["unit"]
    head = ["speaker", f"{unit}s", "utterances", "most used expert", "its weight, %"]
    head += ["own expert, %", "q", "effective experts", f"within one {unit}"]
    head += [f"mixing within a {unit}, %", *(values["title"] for values in measures), "remark"]
    caption = "All values by speaker"
    texts = frozenset({2, len(head) - 2})
    return Table(caption, head, rows, texts, filterable=True, id="numbers")


def _mixing(document: Document, order: Sequence[int]) -> Block | None:
    mixing = document.get("mixing")
    if not mixing or all(share is None for share in mixing):
        return None
    effective, unit = document["effective_experts"], document["unit"]
    spread = [i for i, share in enumerate(mixing) if share is not None and effective[i] >= 1.5]
    if not spread:
        sentence = "Every speaker uses about one expert, so there is no mixing."
    else:
        share = float(np.median([mixing[i] for i in spread]))
        does = f"mixes within a {unit}" if share >= 0.5 else f"switches between {unit}s"
        sentence = (
            f"{plural(len(spread), 'speaker')} use more than one expert; for their median the gate "
            f"{does}: {percent(share)} of the entropy of the weights is within single {unit}s."
        )
    figure = Figure(
        "blend",
        f"Scatter plot of speakers: effective number of experts (x), mixing within a {unit} (y)",
        f"Right: many experts. Top: mixed within every {unit}; bottom: one at a time.",
        MixingScatter(
            [document["speakers"][i] for i in order],
            np.array([effective[i] for i in order], dtype=float),
            in_percent_of([np.nan if mixing[i] is None else mixing[i] for i in order]),
            len(document["experts"]),
            unit,
        ),
    )
    rows = [
        row(
            document["speakers"][i],
            number(effective[i]),
            number(document["effective_per_row"][i]),
            _share(mixing[i]),
        )
        for i in order
    ]
    title = "Mixing or switching"
    head = ("speaker", "effective experts", f"within one {unit}", f"mixing within a {unit}, %")
    return Block(title, sentence, [figure], [Table(title, head, rows, filterable=True)])


def _tree(document: Document, order: Sequence[int]) -> list[list[float]] | None:
    """The linkage with leaves in drawing order; None if it is not of these speakers."""
    linkage = (document.get("clustering") or {}).get("linkage")
    if not linkage or len(linkage) != len(order) - 1 or len(order) != len(document["speakers"]):
        return None
    place = {speaker: line for line, speaker in enumerate(order)}
    return [[place.get(int(a), a), place.get(int(b), b), *rest] for a, b, *rest in linkage]


def _array(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=float)


def _share(share: float | None) -> str:
    return DASH if share is None else in_percent(share)


def _number(value: float | None) -> str:
    return DASH if value is None else number(value)
