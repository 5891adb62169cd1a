"""The section on error rates of a comparison."""

from __future__ import annotations

import numpy as np

from phoneme_moe.report.compare.document import ErrorRates, SplitErrorRates
from phoneme_moe.report.compare.text import measure_name
from phoneme_moe.report.number_format import (
    DASH,
    in_percent,
    percent,
    points,
    points_range,
    probability,
)
from phoneme_moe.report.page.parts import Block, Cell, Row, Section, Table, row

#: Maximum number of speakers on the page, to limit its size.
MOST_SPEAKERS = 250
#: Number of rows above which a table is initially collapsed.
FOLDED = 30


def errors_section(rates: SplitErrorRates) -> Section:
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
    ends = [abs(end) for one in (rates, *rates.by_corpus, *lines) for end in one.interval]
    reach = max(0.01, *ends)
    rows = [
        _rate_row(one.speaker, one, one.significant, probability(one.q), reach) for one in lines
    ]
    rows += [
        _rate_row(f"all of {one.corpus}", one, one.p <= 0.05, DASH, reach)
        for one in rates.by_corpus
    ]
    rows.append(_rate_row("all", rates, rates.p <= 0.05, DASH, reach))
    head = ["speaker", "A", "B", "change, points", "change, drawn", "95 % interval"]
    head += ["p", "q", "better", "worse", "of utterances"]
    table = Table(f"{measure_name(rates)} in %", head, rows, total=True)
    block = Block("", "", tables=[table], open_tables=len(lines) <= FOLDED, hint=hint)
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
