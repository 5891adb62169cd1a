"""The sections on experts and their routing of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phoneme_moe.report.compare.document import (
    AgreementMeasure,
    ExpertMatching,
    Slot,
    SpeakerRouting,
)
from phoneme_moe.report.compare.section_errors import FOLDED, MOST_SPEAKERS
from phoneme_moe.report.number_format import (
    DASH,
    in_percent,
    number,
    percent,
    percent_range,
    probability,
    signed,
)
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Cell, Section, Table, row

#: Number of experts above which they are ordered by shared weight instead of by name.
_ORDERED = 16
#: Number of weight changes listed per speaker, and the smallest one listed.
_LISTED, _LEAST = 3, 0.02


def matching_section(matching: ExpertMatching, unit: str) -> Section:
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
        Block("", "", tables=[numbers], open_tables=len(of_pairs) <= FOLDED),
    ]
    return Section("matching", "Matched experts", blocks)


def agreement_section(measures: Sequence[AgreementMeasure], shuffles: int) -> Section:
    """Measures of agreement, and how far they are above chance.

    Args:
        measures: The measures.
        shuffles: Number of permutations behind the chance.
    """
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


def routing_section(by_speaker: Sequence[SpeakerRouting], slots: Sequence[Slot]) -> Section:
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
    block = Block("", "", tables=[table], open_tables=len(ordered) <= FOLDED, hint=hint)
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
