"""The section that shows what is said against who is asked.

Legend: S speakers, P phonemes, E experts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import percent
from phoneme_moe.report.page.charts import bits, dumbbells
from phoneme_moe.report.page.heat_map import HeatMap
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
    signed,
    small,
)
from phoneme_moe.report.page.plots import rows_height
from phoneme_moe.report.page.section_speakers import expert_order

#: Weights of speaker by phoneme by expert that travel with the page, one byte each.
_MOST_CROSSED = 250_000
_INFORMATION = {
    "speaker_information": "about the speaker",
    "phoneme_information": "about the phoneme",
    "speaker_beyond_phonemes": "about the speaker beyond phonemes",
    "interaction": "interaction of both",
}

Document = Mapping[str, Any]


def phonemes_section(document: Document) -> Section | None:
    """Phoneme by expert, crossed with speaker; information; edges; right and wrong frames."""
    blocks = [_heat(document), _information(document)]
    if document.get("edges"):
        blocks.append(_steady(document))
    if document.get("correctness"):
        blocks.append(_right(document))
    shown = [block for block in blocks if block is not None]
    return Section("phonemes", "Which expert for what is said", shown) if shown else None


def _heat(document: Document) -> Block | None:
    if not document.get("phonemes") or not document.get("experts"):
        return None
    phonemes, experts, unit = document["phonemes"], document["experts"], document["unit"]
    weights = np.asarray(document["phoneme_weights"], dtype=float)
    rows = np.asarray(document["phoneme_counts"]["rows"])
    columns = expert_order(document)
    order = np.lexsort((-weights.max(axis=1), weights[:, columns].argmax(axis=1))).tolist()
    effective = np.exp(-(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=1))
    what = HeatMap(
        rows=[phonemes[i] for i in order],
        columns=[experts[i] for i in columns],
        weights=weights[np.ix_(order, columns)],
        facts={
            f"{unit}s": rows[order].tolist(),
            "utterances": [document["phoneme_counts"]["utterances"][i] for i in order],
        },
        effective=effective[order],
    )
    spread = np.abs(weights - np.asarray(document["load"])).sum(axis=1) / 2
    odd = int(spread.argmax())
    favourite = int((weights[odd] - np.asarray(document["load"])).argmax())
    sentence = (
        f"{phonemes[odd]} is the phoneme that is served most unlike the rest: "
        f"{percent(weights[odd, favourite])} of it goes to expert {experts[favourite]}, "
        f"against {percent(document['load'][favourite])} of all {unit}s."
    )
    if spread.max() < 0.03:
        sentence = "Every phoneme is served alike: no weight depends on what is said."
    silent = document["num_rows"] - int(rows.sum())
    if silent:
        sentence += f" {plural(silent, unit)} carry no phoneme and count for speakers only."
    table = Table(
        "Mean gate weight in %",
        ("phoneme", *(experts[i] for i in columns), f"{unit}s"),
        [
            (
                phonemes[i],
                [
                    *(
                        Cell(per_cent(weights[i, e]), shade=shade(weights[i, e], what.top))
                        for e in columns
                    ),
                    Cell(f"{rows[i]:,}"),
                ],
            )
            for i in order
        ],
        id="phoneme-table",
    )
    figure = Figure(
        "heat-phonemes",
        f"Heat map of mean gate weights, {plural(len(order), 'phoneme')} down, "
        f"{plural(len(columns), 'expert')} across; the table below has every number",
        f"Mean gate weight in % over the {unit}s of each phoneme; bar: experts in effect.",
        draw_heat_map(what),
        what.height,
        what.min_width,
        top=what.top,
    )
    crossed = _crossed(document, order, columns)
    return Block(
        "", sentence, [figure], [table], controls="phonemes" if crossed else "", extra=crossed
    )


def _crossed(document: Document, order: Sequence[int], columns: Sequence[int]) -> dict[str, Any]:
    """The same heat map for every speaker: weights as bytes 0..254, 255 for never said."""
    weights, speakers = document.get("speaker_phoneme_weights"), document["speakers"]
    size = len(speakers) * len(order) * len(columns)
    if not weights or len(speakers) < 2 or size > _MOST_CROSSED:
        return {}
    nothing = [np.nan] * len(document["experts"])
    dense = np.array([[nothing if row is None else row for row in one] for one in weights])
    chosen = dense[:, order][:, :, columns]
    levels = np.where(np.isnan(chosen), 255, np.round(np.nan_to_num(chosen) * 254).clip(0, 254))
    return {
        "speakers": speakers,
        "bytes": base64.b64encode(levels.astype(np.uint8).tobytes()).decode(),
    }


def _information(document: Document) -> Block | None:
    found = {
        test["name"]: test
        for test in document.get("tests") or []
        if test["name"] in _INFORMATION and test["scope"] is None
    }
    if not found:
        return None
    tests = [found[name] for name in _INFORMATION if name in found]
    labels = [_INFORMATION[test["name"]] for test in tests]
    figure = Figure(
        "information",
        "Bits that the routing tells about speaker and phoneme, and what chance would give",
        "Bar: beyond chance. Ring: as measured. Line: mean under permutation.",
        bits(labels, [test["value"] for test in tests], [test["chance"] for test in tests]),
        rows_height(len(tests), 34, 52),
    )
    rows = [
        (
            label,
            (
                Cell(number(test["value"], 3)),
                Cell(number(test["chance"], 3)),
                Cell(number(test["corrected"], 3)),
                Cell(small(test["q"])),
            ),
        )
        for label, test in zip(labels, tests, strict=True)
    ]
    head = ("the routing tells", "measured", "by chance", "beyond chance", "q")
    return Block(
        "What the routing tells, in bits",
        _told(found),
        [figure],
        [Table("Information in bits", head, rows)],
    )


def _told(found: Mapping[str, Mapping[str, Any]]) -> str:
    who, what = found.get("speaker_information"), found.get("phoneme_information")
    if not who or not what:
        one = who or what
        if one is None:
            return "Only what speaker and phoneme tell together was measured."
        about = "the speaker" if who else "the phoneme"
        return f"The routing tells {one['corrected']:.2f} bits about {about} beyond chance."
    more, less = ("who speaks", "what is said")
    if what["corrected"] > who["corrected"]:
        more, less = less, more
    high, low = sorted([who["corrected"], what["corrected"]], reverse=True)
    told = (
        f"The routing goes by {more} ({high:.2f} bits beyond chance) more than by {less} "
        f"({max(low, 0):.2f} bits)."
    )
    if high <= 0:
        told = "The routing tells nothing beyond chance about who speaks or what is said."
    beyond = found.get("speaker_beyond_phonemes")
    if beyond:
        real = "" if beyond["significant"] else ", which chance could give"
        left = max(beyond["corrected"], 0)
        told += f" Among equal phonemes it still tells {left:.2f} bits about the speaker{real}."
    return told


def _steady(document: Document) -> Block:
    unit = document["unit"]
    title = f"Boundary against steady {unit}s"
    return _pair(document, "edges", title, ("steady", "edge"), (f"steady {unit}s", "boundary"))


def _right(document: Document) -> Block:
    unit = document["unit"]
    title = f"Right against wrong {unit}s"
    labels = (f"right {unit}s", f"wrong {unit}s")
    return _pair(document, "correctness", title, ("right", "wrong"), labels)


def _pair(
    document: Document, key: str, title: str, sides: tuple[str, str], labels: tuple[str, str]
) -> Block:
    """Mean weights of two kinds of rows beside each other."""
    experts, pair = document["experts"], document[key]
    one, two = (np.asarray(pair[side]["weights"], dtype=float) for side in sides)
    gap = two - one
    most = int(np.abs(gap).argmax())
    counts = " and ".join(
        f"{pair[side]['rows']:,} {label}" for side, label in zip(sides, labels, strict=True)
    )
    if np.abs(gap).max() < 0.02:
        sentence = f"It makes no difference: no expert's weight moves by 2 points ({counts})."
    else:
        moves = "gains" if gap[most] > 0 else "loses"
        sentence = (
            f"Expert {experts[most]} {moves} most in {labels[1]}: {percent(one[most])} to "
            f"{percent(two[most])} of the weight ({counts})."
        )
    rows = [
        (
            name,
            (Cell(per_cent(one[e])), Cell(per_cent(two[e])), Cell(signed(100 * gap[e]))),
        )
        for e, name in enumerate(experts)
    ]
    shown = sorted(np.argsort(-np.maximum(one, two), kind="stable")[:24].tolist())
    figure = Figure(
        key,
        f"Mean weight of every expert in {labels[0]} and {labels[1]}",
        "" if len(shown) == len(experts) else f"The {len(shown)} most used experts.",
        dumbbells([experts[e] for e in shown], one[shown], two[shown], labels, "weight, %"),
        rows_height(len(shown), 22, 58),
        legend=(("hollow", labels[0]), ("var(--second)", labels[1])),
    )
    head = ("expert", *labels, "difference")
    return Block(title, sentence, [figure], [Table("Mean weight, %", head, rows)])
