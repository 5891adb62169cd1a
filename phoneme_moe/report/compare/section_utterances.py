"""The section on the utterances of a comparison that differ most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from phoneme_moe.report.compare.differences import turns
from phoneme_moe.report.compare.document import ComparedUtterance, ComparisonDocument, Slot
from phoneme_moe.report.number_format import plural
from phoneme_moe.report.page.parts import Block, Section
from phoneme_moe.report.page.template import render_part

#: Number of experts in the legend of an utterance.
_LEGEND = 8


def utterances_section(document: ComparisonDocument, slots: Sequence[Slot]) -> Section:
    """The utterances with their transcriptions and, over time, their first experts.

    Args:
        document: The comparison.
        slots: Matched experts, or experts without a partner.
    """
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
