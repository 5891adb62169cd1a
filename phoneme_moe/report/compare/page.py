"""A comparison as one HTML file without scripts, in the style of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from phoneme_moe.report.compare.differences import turns
from phoneme_moe.report.compare.document import (
    AgreementMeasure,
    ComparedUtterance,
    ComparisonDocument,
    ErrorRates,
    ExpertMatching,
    Slot,
    SpeakerRouting,
    SplitErrorRates,
)
from phoneme_moe.report.compare.text import measure_name
from phoneme_moe.report.number_format import (
    DASH,
    in_percent,
    number,
    percent,
    percent_range,
    plural,
    points,
    points_range,
    probability,
    signed,
)
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Cell, Row, Section, Table, row
from phoneme_moe.report.page.template import render, render_part

#: Maximum number of speakers on the page, to limit its size.
MOST_SPEAKERS = 250
#: Number of rows above which a table is initially collapsed.
_FOLDED = 30
#: Number of experts above which they are ordered by shared weight instead of by name.
_ORDERED = 16
#: Number of weight changes listed per speaker, and the smallest one listed.
_LISTED, _LEAST = 3, 0.02
#: Number of experts in the legend of an utterance.
_LEGEND = 8


def render_comparison(document: ComparisonDocument) -> str:
    """Renders the comparison as a self-contained HTML page with light and dark themes.

    Args:
        document: The comparison.

    Returns:
        The page, which links only to ``comparison.json`` in its own folder.
    """
    slots = document.matching.slots if document.matching else []
    sections: list[Section] = []
    if document.error_rate:
        sections.append(_errors(document.error_rate))
    if document.matching and document.agreement and document.routing_by_speaker:
        sections.append(_matching(document.matching, document.unit))
        sections.append(_agreement(document.agreement.measures, document.agreement.shuffles))
        sections.append(_routing(document.routing_by_speaker, slots))
    if document.utterances:
        sections.append(_utterances(document, slots))
    return render(
        "compare/comparison.html.jinja",
        styles=["compare/comparison.css"],
        num_experts=len(slots),
        title=document.title,
        facts=_facts(document),
        verdict=document.verdict,
        missing=document.missing,
        sections=sections,
        files={"comparison.json": "all values on this page"},
        document=document,
    )


def _facts(document: ComparisonDocument) -> dict[str, str]:
    facts = {}
    for letter, run in (("A", document.a), ("B", document.b)):
        experts = "no routing" if run.experts is None else f"{len(run.experts)} experts"
        in_name = run.layer is None or run.name.endswith(f" {run.layer}")
        facts[letter] = f"{run.name} ({experts}{'' if in_name else f', {run.layer}'})"
    facts |= {"corpus": document.corpus, "split": document.split}
    frames = document.unit == "frame"
    facts["utterances" if frames else "tokens"] = f"{document.num_utterances:,}"
    if frames and document.num_rows is not None and document.frame_seconds is not None:
        name = f"frames of {1000 * document.frame_seconds:g} ms"
        facts[name] = f"{document.num_rows:,}"
    return facts


def _errors(rates: SplitErrorRates) -> Section:
    """Error rates by speaker, greatest improvement first, with intervals drawn."""
    kind = "Phoneme error rate" if rates.measure == "per" else "Error rate of tokens"
    hint = (
        f"{kind} in per cent, on the same utterances; left of the line B makes fewer errors. "
        f"Phoneme mapping: {rates.fold}."
    )
    if rates.better + rates.worse == 0:
        sentence = (
            f"Every utterance has the same number of errors in both runs: {percent(rates.a, 2)}."
        )
        return Section("errors", "Error rate by speaker", [Block("", sentence, hint=hint)])
    lines = sorted(rates.by_speaker, key=lambda one: (one.difference, one.speaker))
    if len(lines) > MOST_SPEAKERS:
        half = MOST_SPEAKERS // 2
        lines = lines[:half] + lines[-half:]
    ends = [abs(end) for one in (rates, *lines) for end in one.interval]
    reach = max(0.01, *ends)
    rows = [
        _rate_row(one.speaker, one, one.significant, probability(one.q), reach) for one in lines
    ]
    rows.append(_rate_row("all", rates, rates.p <= 0.05, DASH, reach))
    head = ["speaker", "A", "B", "change, points", "change, drawn", "95 % interval"]
    head += ["p", "q", "better", "worse", "of utterances"]
    table = Table(f"{measure_name(rates)} in %", head, rows, total=True)
    block = Block("", "", tables=[table], open_tables=len(lines) <= _FOLDED, hint=hint)
    return Section("errors", "Error rate by speaker", [block])


def _rate_row(name: str, one: ErrorRates, significant: bool, q: str, reach: float) -> Row:
    low, middle, high = (
        50 + 50 * float(np.clip(value / reach, -1, 1))
        for value in (one.interval[0], one.difference, one.interval[1])
    )
    return row(
        name,
        in_percent(one.a, 2),
        in_percent(one.b, 2),
        Cell(points(one.difference, 2), strong=significant),
        Cell("", whisker=(low, middle, high), strong=significant),
        points_range(*one.interval, 2),
        probability(one.p),
        q,
        f"{one.better:,}",
        f"{one.worse:,}",
        f"{one.utterances:,}",
    )


def _matching(matching: ExpertMatching, unit: str) -> Section:
    """First experts of A by those of B in per cent of each row, partners on the diagonal."""
    pairs = matching.pairs
    if len(matching.experts_a) > _ORDERED:
        pairs = sorted(pairs, key=lambda pair: -pair.common)
    rows = [pair.a for pair in pairs] + [one.expert for one in matching.unmatched_a]
    columns = [pair.b for pair in pairs] + [one.expert for one in matching.unmatched_b]
    order_a = [matching.experts_a.index(name) for name in rows]
    order_b = [matching.experts_b.index(name) for name in columns]
    counts = np.array(matching.first_experts, dtype=float)[np.ix_(order_a, order_b)]
    totals = counts.sum(axis=1)
    heat = HeatMap(
        rows=rows,
        columns=columns,
        weights=np.divide(
            counts, totals[:, None], out=np.full_like(counts, np.nan), where=totals[:, None] > 0
        ),
        outlined=[i if i < len(pairs) else None for i in range(len(rows))],
        outline="partner",
        kinds=("A \\ B", "expert"),
    )
    hint = (
        "Experts have no inherent order: partners are matched so that the weight shared in the "
        f"same {unit}s is greatest. Each row: of the {unit}s in which that expert has the greatest "
        "weight in A, the per cent in which each expert of B has the greatest weight. "
        "Outlined: partners."
    )
    more = {f"{unit}s": [f"{int(total):,}" for total in totals]}
    table = heat.table(
        "First experts of A (rows) and of B (columns)", more=more, places=0, flat=True
    )
    of_pairs = [
        row(
            pair.a,
            pair.b,
            percent(pair.load_a, 1),
            percent(pair.load_b, 1),
            percent(pair.common),
            number(pair.correlation),
        )
        for pair in pairs
    ]
    of_pairs += [
        row(one.expert, "no partner", percent(one.load, 1), "", "", "")
        for one in matching.unmatched_a
    ]
    of_pairs += [
        row("no partner", one.expert, "", percent(one.load, 1), "", "")
        for one in matching.unmatched_b
    ]
    head = ("expert of A", "expert of B", "load in A", "load in B", "shared", "correlation")
    numbers = Table("Every pair in numbers", head, of_pairs, frozenset({0}))
    blocks = [
        Block("", "", tables=[table], open_tables=True, hint=hint),
        Block("", "", tables=[numbers], open_tables=len(of_pairs) <= _FOLDED),
    ]
    return Section("matching", "Matched experts", blocks)


def _agreement(measures: Sequence[AgreementMeasure], shuffles: int) -> Section:
    hint = (
        f"Compared with the agreement after shuffling the utterances of B {shuffles} times and "
        "matching again: among all utterances, and within speakers."
    )
    rows = [
        row(
            one.measure.replace("_", " "),
            Cell(percent(one.value), strong=True),
            percent_range(*one.interval),
            *_beyond(one.chance, one.corrected, one.p, shuffles),
            *_beyond(one.speaker_chance, one.speaker_corrected, one.speaker_p, shuffles),
        )
        for one in measures
    ]
    head = ["agreement of", "value", "95 % interval", "chance", "corrected", "p"]
    head += [f"{name} within speakers" for name in head[3:]]
    table = Table("Agreement and chance", head, rows)
    block = Block("", "", tables=[table], open_tables=True, hint=hint)
    return Section("agreement", "Agreement of routing", [block])


def _beyond(
    chance: float | None, corrected: float | None, p: float | None, shuffles: int
) -> list[str]:
    if chance is None:
        return [DASH] * 3
    return [percent(chance), number(corrected), probability(p, shuffles)]


def _routing(by_speaker: Sequence[SpeakerRouting], slots: Sequence[Slot]) -> Section:
    """Mean weights of each speaker in both runs, greatest change first."""
    ordered = sorted(by_speaker, key=lambda one: (-one.distance, one.speaker))[:MOST_SPEAKERS]
    heat = HeatMap(
        rows=[f"{one.speaker} {letter}" for one in ordered for letter in "AB"],
        columns=[slot.name for slot in slots],
        weights=np.array([w for one in ordered for w in (one.before, one.after)]),
    )
    # The numbers of a speaker are in the row of A.
    more: dict[str, list[Cell | str]] = {
        "moved, %": [c for one in ordered for c in (in_percent(one.distance, 0), "")],
        "95 % interval": [c for one in ordered for c in (percent_range(*one.interval), "")],
        "q": [c for one in ordered for c in (_q(one), "")],
        "greatest changes": [c for one in ordered for c in (_greatest_changes(one, slots), "")],
    }
    hint = (
        "Mean weight of matched experts in A (above) and B (below), per cent; speakers "
        "with the greatest change come first. Moved: the weight that moves to other experts."
    )
    text = frozenset({len(slots) + 3})
    table = heat.table(
        "Mean weights in both runs, %",
        more=more,
        places=0,
        text_columns=text,
        flat=True,
        classes="pairs",
    )
    block = Block("", "", tables=[table], open_tables=len(ordered) <= _FOLDED, hint=hint)
    return Section("speakers", "Routing by speaker", [block])


def _q(one: SpeakerRouting) -> Cell:
    return Cell(probability(one.q), strong=one.significant)


def _greatest_changes(one: SpeakerRouting, slots: Sequence[Slot]) -> str:
    """The slots with the greatest changes, such as ``name +12``."""
    change = np.array(one.after) - np.array(one.before)
    order = np.argsort(-np.abs(change), kind="stable")[:_LISTED]
    return ", ".join(
        f"{slots[i].name} {signed(100 * change[i], 0)}"
        for i in order.tolist()
        if abs(change[i]) >= _LEAST
    )


def _utterances(document: ComparisonDocument, slots: Sequence[Slot]) -> Section:
    in_time = document.matching is not None and document.unit == "frame"
    by = ""
    if document.error_rate and document.matching:
        by = ", some by their transcription, some by their routing"
    noun = "utterance" if document.unit == "frame" else "token"
    hint = (
        f"The {plural(len(document.utterances), noun)} that differ most{by}. Of those that differ "
        "as much, the speakers take turns, first those whose error rate changes most. Errors are "
        "marked; a dot is a gap."
    )
    if in_time:
        hint += (
            " Below, the expert with the greatest weight over time: partners have the same colour, "
            "and the line between the strips marks where the runs differ."
        )
    seconds = document.frame_seconds if in_time else None
    content = render_part(
        "compare/utterances.html.jinja",
        utterances=[_utterance(one, slots, seconds) for one in document.utterances],
        slots=[slot.name for slot in slots],
    )
    block = Block("", "", hint=hint, content=content)
    return Section("utterances", f"{noun.capitalize()}s that differ most", [block])


def _utterance(
    one: ComparedUtterance, slots: Sequence[Slot], seconds: float | None
) -> dict[str, Any]:
    """Template values of an utterance, with strips if rows have a length in seconds."""
    strips: list[tuple[str, list[dict[str, Any]]]] = []
    shown = {"one": one, "strips": strips, "used": [], "others": 0}
    if seconds is None or one.first_a is None or one.first_b is None:
        return shown
    rows: Counter[int] = Counter()
    for letter, first in (("A", one.first_a), ("B", one.first_b)):
        ends = list(accumulate(count for _, count in first))
        parts = []
        for (slot, count), end in zip(first, ends, strict=True):
            time = f"{(end - count) * seconds:.2f}–{end * seconds:.2f} s"
            title = f"{letter}: {slots[slot].name} {time}"
            parts.append({"class": f"e{slot}", "rows": count, "title": title})
            rows[slot] += count
        strips.append((letter, parts))
    a, b = (
        np.repeat([slot for slot, _ in first], [count for _, count in first])
        for first in (one.first_a, one.first_b)
    )
    differs = [
        {"class": "differs" if value else "", "rows": count, "title": ""}
        for value, count in turns((a != b).astype(np.int64))
    ]
    strips.insert(1, ("", differs))
    used = sorted(slot for slot, _ in rows.most_common(_LEGEND))
    return shown | {"used": used, "others": len(rows) - len(used)}
