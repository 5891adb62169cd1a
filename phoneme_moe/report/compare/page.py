"""A comparison as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import accumulate
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from phoneme_moe.report.compare.differences import turns
from phoneme_moe.report.compare.text import measure_name, points, probability, signed
from phoneme_moe.report.number_format import names, percent
from phoneme_moe.report.page.palette import expert_colours, from_hex, hex_colour, ink, ramp

#: Speakers on the page; a corpus of thousands would make a file of many megabytes.
MOST_SPEAKERS = 250
#: Rows above which a table starts folded.
_FOLDED_SPEAKERS, _FOLDED_PAIRS = 30, 24
#: More experts than this stand in the order of what partners have in common, not of their names.
_ORDERED = 16
#: Changes of weight named per speaker, and the least that is worth it.
_NAMED, _NAMEABLE = 3, 0.02
#: Experts named below an utterance: those that are first most often.
_LEGEND = 8

Document = Mapping[str, Any]


def render_comparison(document: Document) -> str:
    """The whole comparison as a self-contained HTML page, light and dark.

    Args:
        document: What ``comparison.json`` holds.

    Returns:
        The page; it links to ``comparison.json`` in its own folder and to nothing else.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "probability": probability,
        "thousands": "{:,}".format,
        "names": names,
    }
    template = resources.files(__package__).joinpath("page.html.jinja")
    slots = document["matching"]["slots"] if document["matching"] else []
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        document=document,
        facts=_facts(document),
        measure=measure_name(document["error_rate"]) if document["error_rate"] else "",
        rates=_rate_lines(document["error_rate"]),
        heat=_heat(document["matching"]),
        routing=_routing_lines(document["routing_by_speaker"], slots),
        slots=[_slot_name(slot) for slot in slots],
        utterances=[_utterance(one, slots, document) for one in document["utterances"]],
        fold={"speakers": _FOLDED_SPEAKERS, "pairs": _FOLDED_PAIRS, "most": MOST_SPEAKERS},
        ramps={theme: _shades(ramp(theme)) for theme in ("light", "dark")},
        colours=[(colour, hex_colour(ink(from_hex(colour)))) for colour in _colours(len(slots))],
    )


def _colours(count: int) -> list[str]:
    return expert_colours(count) if count else []


def _facts(document: Document) -> dict[str, str]:
    facts = {}
    for letter in ("a", "b"):
        about = document[letter]
        experts = "no routing" if about["experts"] is None else f"{len(about['experts'])} experts"
        told = about["layer"] is None or about["name"].endswith(f" {about['layer']}")
        layer = "" if told else f", {about['layer']}"
        facts[letter.upper()] = f"{about['name']} ({experts}{layer})"
    facts |= {
        "corpus": document["corpus"],
        "split": document["split"],
        "utterances" if document["unit"] == "frame" else "tokens": (
            f"{document['num_utterances']:,}"
        ),
    }
    if document["num_rows"] is not None and document["unit"] == "frame":
        facts[f"frames of {1000 * document['frame_seconds']:g} ms"] = f"{document['num_rows']:,}"
    return facts


def _rate_lines(rates: Document | None) -> list[dict[str, Any]]:
    """Speakers, the greatest gain first, with where to draw the interval of the change."""
    if rates is None:
        return []
    lines = sorted(rates["by_speaker"], key=lambda one: (one["difference"], one["speaker"]))
    if len(lines) > MOST_SPEAKERS:
        half = MOST_SPEAKERS // 2
        lines = lines[:half] + lines[-half:]
    overall = {**rates, "speaker": "all", "q": None, "significant": rates["p"] <= 0.05}
    lines = [*lines, overall]
    reach = max([0.01, *(abs(edge) for one in lines for edge in one["interval"])])

    def place(value: float) -> float:
        return 50 + 50 * float(np.clip(value / reach, -1, 1))

    return [
        {
            **one,
            "low": place(one["interval"][0]),
            "high": place(one["interval"][1]),
            "at": place(one["difference"]),
        }
        for one in lines
    ]


def _heat(matching: Document | None) -> dict[str, Any] | None:
    """First experts of A against those of B, partners on the diagonal, rows in per cent."""
    if matching is None:
        return None
    pairs = matching["pairs"]
    if len(matching["experts_a"]) > _ORDERED:
        pairs = sorted(pairs, key=lambda pair: -pair["common"])
    rows = [pair["a"] for pair in pairs] + [one["expert"] for one in matching["unmatched_a"]]
    columns = [pair["b"] for pair in pairs] + [one["expert"] for one in matching["unmatched_b"]]
    # Experts are in the tables in the runs' own order, which the slots do not keep.
    order_a = _order(matching, "a", rows)
    order_b = _order(matching, "b", columns)
    counts = np.array(matching["first_experts"])[np.ix_(order_a, order_b)]
    totals = counts.sum(axis=1)
    return {
        "columns": columns,
        "upright": max(len(name) for name in columns) * len(columns) > 60,
        "dense": len(rows) > _ORDERED,
        "lines": [
            {
                "name": name,
                "rows": int(totals[i]),
                "cells": [
                    None if totals[i] == 0 else round(100 * float(count / totals[i]))
                    for count in counts[i]
                ],
                "partner": i if i < len(pairs) else None,
            }
            for i, name in enumerate(rows)
        ],
    }


def _order(matching: Document, run: str, wanted: Sequence[str]) -> list[int]:
    index = {name: i for i, name in enumerate(matching[f"experts_{run}"])}
    return [index[name] for name in wanted]


def _routing_lines(
    by_speaker: Sequence[Document] | None, slots: Sequence[Document]
) -> list[dict[str, Any]]:
    """Speakers, the greatest change first, with what moved in words."""
    ordered = sorted(by_speaker or [], key=lambda one: (-one["distance"], one["speaker"]))
    return [
        {
            **one,
            "cells": [
                [round(100 * weight) for weight in one[side]] for side in ("before", "after")
            ],
            "moved": _moved(np.array(one["after"]) - np.array(one["before"]), slots),
        }
        for one in ordered[:MOST_SPEAKERS]
    ]


def _moved(change: np.ndarray, slots: Sequence[Document]) -> list[str]:
    """The slots that win or lose most, as ``name +12``."""
    order = np.argsort(-np.abs(change), kind="stable")[:_NAMED]
    return [
        f"{_slot_name(slots[i])} {signed(100 * change[i])}"
        for i in order.tolist()
        if abs(change[i]) >= _NAMEABLE
    ]


def _slot_name(slot: Document) -> str:
    """``x`` for a pair of the same name, ``x / y`` for another, else whose it is."""
    if slot["b"] is None:
        return f"{slot['a']} (A only)"
    if slot["a"] is None:
        return f"{slot['b']} (B only)"
    return str(slot["a"]) if slot["a"] == slot["b"] else f"{slot['a']} / {slot['b']}"


def _utterance(one: Document, slots: Sequence[Document], document: Document) -> dict[str, Any]:
    lines: list[list[dict[str, Any]]] = []
    differs: list[dict[str, Any]] = []
    rows: Counter[int] = Counter()
    if one["first_a"] is not None and document["unit"] == "frame":
        seconds = document["frame_seconds"]
        for side in ("first_a", "first_b"):
            lines.append(_stretches(one[side], slots, seconds))
            for slot, count in one[side]:
                rows[slot] += count
        both = [
            np.repeat([s for s, _ in one[side]], [n for _, n in one[side]])
            for side in ("first_a", "first_b")
        ]
        apart = turns((both[0] != both[1]).astype(np.int64))
        differs = [{"apart": bool(value), "rows": count} for value, count in apart]
    used = sorted(slot for slot, _ in rows.most_common(_LEGEND))
    others = len(rows) - len(used)
    return {**one, "strips": lines, "differs": differs, "used": used, "others": others}


def _stretches(
    choices: Sequence[Sequence[int]], slots: Sequence[Document], seconds: float
) -> list[dict[str, Any]]:
    """The first experts in time, each with what a pointer is told."""
    ends = list(accumulate(rows for _, rows in choices))
    return [
        {
            "slot": slot,
            "rows": rows,
            "title": f"{_slot_name(slots[slot])} "
            f"{(end - rows) * seconds:.2f}–{end * seconds:.2f} s",
        }
        for (slot, rows), end in zip(choices, ends, strict=True)
    ]


def _shades(colours: Iterable[np.ndarray]) -> list[tuple[str, str]]:
    """Background and text colour of every whole per cent."""
    shades = [(float(red), float(green), float(blue)) for red, green, blue in colours]
    return [(hex_colour(shade), hex_colour(ink(shade))) for shade in shades]
