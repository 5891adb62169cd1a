"""The section on gate weights by phoneme, and mutual information with speaker and phoneme.

Legend: S speakers, P phonemes, E experts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.effect_size import possible_bits
from phoneme_moe.report.number_format import (
    DASH,
    from_to,
    in_percent,
    number,
    percent,
    plural,
    points,
    probability,
    told_apart,
)
from phoneme_moe.report.page.cell_links import Cells, cell_links
from phoneme_moe.report.page.charts import Bits, Dumbbells, in_percent_of, most_used
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Figure, Section, Table, row
from phoneme_moe.report.page.section_speakers import expert_order

#: Limit of weights of speaker by phoneme by expert embedded in the page, one byte each.
_MOST_CROSSED = 250_000
_BAR = "Bar: effective number of experts."
_INFORMATION = {
    "speaker_information": "speaker",
    "phoneme_information": "phoneme",
    "speaker_beyond_phonemes": "speaker given phoneme",
    "interaction": "interaction",
}

Document = Mapping[str, Any]


def phonemes_section(document: Document, clips: Cells = ()) -> Section | None:
    """The section: phonemes by experts, also for each speaker; information; boundaries; errors.

    Args:
        document: The content of ``routing.json``.
        clips: Cells with clips beside the page.
    """
    unit = document.get("unit")
    blocks = [_weights(document, clips), _information(document)]
    if document.get("edges"):
        title, labels = f"Boundary and steady {unit}s", (f"steady {unit}s", f"boundary {unit}s")
        blocks.append(_pair(document, "edges", title, ("steady", "edge"), labels))
    correctness = document.get("correctness")
    # Older reports count frames of the CTC blank as wrong, whatever the error rate.
    if correctness and (unit == "token" or correctness.get("unjudged") is not None):
        title, labels = f"Correct and wrong {unit}s", (f"correct {unit}s", f"wrong {unit}s")
        hint = ""
        if correctness.get("unjudged"):
            hint = (
                "Correct and wrong are frames that emit a correct or a wrong phoneme. "
                f"{plural(correctness['unjudged'], 'frame')} with the CTC blank "
                f"{'is' if correctness['unjudged'] == 1 else 'are'} neither, so phonemes that "
                "were deleted do not count here."
            )
        blocks.append(_pair(document, "correctness", title, ("right", "wrong"), labels, hint))
    shown = [block for block in blocks if block is not None]
    return Section("phonemes", "Gate weights by phoneme", shown) if shown else None


def _weights(document: Document, clips: Cells) -> Block | None:
    if not document.get("phonemes") or not document.get("experts"):
        return None
    phonemes, experts, unit = document["phonemes"], document["experts"], document["unit"]
    weights = np.asarray(document["phoneme_weights"], dtype=float)
    load = np.asarray(document["load"], dtype=float)
    counts = document["phoneme_counts"]
    columns = expert_order(document)
    order = np.lexsort((-weights.max(axis=1), weights[:, columns].argmax(axis=1))).tolist()
    effective = np.exp(-(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=1))
    heat = HeatMap(
        rows=[phonemes[i] for i in order],
        columns=[experts[e] for e in columns],
        weights=weights[np.ix_(order, columns)],
        facts={
            f"{unit}s": [counts["rows"][i] for i in order],
            "utterances": [counts["utterances"][i] for i in order],
        },
        effective=effective[order],
        unit=unit,
        kinds=("phoneme", "expert"),
        links=cell_links(
            "phoneme", [phonemes[i] for i in order], [experts[e] for e in columns], clips
        ),
    )
    distance = np.abs(weights - load).sum(axis=1) / 2
    odd = int(distance.argmax())
    favourite = int((weights[odd] - load).argmax())
    own, overall = told_apart(weights[odd, favourite], load[favourite])
    sentence = (
        f"{phonemes[odd]} is routed most differently from the rest: {own} of its weight is on "
        f"expert {experts[favourite]}, against {overall} over all {unit}s."
    )
    if distance.max() < 0.03:
        sentence = "All phonemes have the same weights: routing does not depend on the phoneme."
    silent = document["num_rows"] - sum(counts["rows"])
    if silent:
        sentence += f" {plural(silent, unit)} have no phoneme and count only for speakers."
    caption = f"Mean gate weight in % over the {unit}s of each phoneme."
    crossed = _by_speaker(document, order, columns)
    return Block(
        "",
        sentence,
        [heat.figure("heat-phonemes", "mean gate weights", caption, _BAR)],
        [
            heat.table(
                "Mean gate weight in %",
                more={f"{unit}s": [f"{counts['rows'][i]:,}" for i in order]},
                id="phoneme-table",
            )
        ],
        controls="phonemes" if crossed else "",
        data=crossed,
    )


def _by_speaker(document: Document, order: Sequence[int], columns: Sequence[int]) -> dict[str, Any]:
    """Heat maps of every speaker: weights as bytes 0..254, with 255 if not spoken."""
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
    by_name = {
        test["name"]: test
        for test in document.get("tests") or []
        if test["name"] in _INFORMATION and test["scope"] is None
    }
    if not by_name:
        return None
    tests = [by_name[name] for name in _INFORMATION if name in by_name]
    labels = [_INFORMATION[test["name"]] for test in tests]
    figure = Figure(
        "information",
        "Information of routing about speaker and phoneme in bits, beside chance",
        "Bar: beyond chance. Ring: as measured. Line: mean under permutation.",
        Bits(
            labels,
            np.array([test["value"] for test in tests], dtype=float),
            np.array([test["chance"] for test in tests], dtype=float),
        ),
    )
    shares = _shares(document, by_name)
    rows = [
        row(
            label,
            *(number(test[key], 3) for key in ("value", "chance", "corrected")),
            in_percent(shares[test["name"]]) if test["name"] in shares else DASH,
            probability(test["p"], test["draws"]),
            probability(test["q"]),
        )
        for label, test in zip(labels, tests, strict=True)
    ]
    head = ["mutual information with", "measured", "chance", "beyond chance"]
    head += ["of the possible, %", "p", "q"]
    return Block(
        "Information of routing, in bits",
        _information_sentence(by_name, shares),
        [figure],
        [Table("Information in bits", head, rows)],
    )


def _shares(document: Document, tests: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Information beyond chance as a share of the possible, for tests that have a bound."""
    possible = possible_bits(
        document["counts"]["rows"], document["speaker_phoneme_rows"], len(document["experts"])
    )
    return {
        name: max(test["corrected"], 0.0) / possible[name]
        for name, test in tests.items()
        if possible.get(name)
    }


def _information_sentence(
    tests: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float]
) -> str:
    about = {name: f"{name}_information" for name in ("speaker", "phoneme")}
    bits_about = {
        name: max(tests[test]["corrected"], 0.0) for name, test in about.items() if test in tests
    }
    if not bits_about:
        return "Only the information about speaker and phoneme together was measured."
    size = {
        name: f"{bits:.2f} bits beyond chance, {percent(shares.get(about[name], 0.0))} of the "
        "possible"
        for name, bits in bits_about.items()
    }
    if not any(bits_about.values()):
        sentence = f"Routing depends on the {' or the '.join(bits_about)} no more than by chance."
    elif len(bits_about) == 1:
        ((name, _),) = bits_about.items()
        sentence = f"Routing has information about the {name}: {size[name]}."
    else:
        less, more = sorted(bits_about, key=lambda name: bits_about[name])
        sentence = (
            f"Routing depends on the {more} ({size[more]}) more than on the {less} ({size[less]})."
        )
    given = tests.get("speaker_beyond_phonemes")
    if given is None:
        return sentence
    sure = "" if given["significant"] else ", not significantly"
    rest = max(given["corrected"], 0.0)
    return (
        f"{sentence} Given the phoneme, it has {rest:.2f} bits about the speaker beyond chance"
        f"{sure}."
    )


def _pair(
    document: Document,
    key: str,
    title: str,
    kinds: tuple[str, str],
    labels: tuple[str, str],
    hint: str = "",
) -> Block:
    """Comparison of the mean weights of two kinds of rows."""
    experts, pair = document["experts"], document[key]
    first, second = (np.asarray(pair[kind]["weights"], dtype=float) for kind in kinds)
    gap = second - first
    most = int(np.abs(gap).argmax())
    counts = " and ".join(
        f"{pair[kind]['rows']:,} {label}" for kind, label in zip(kinds, labels, strict=True)
    )
    if np.abs(gap).max() < 0.02:
        sentence = (
            f"There is no difference: no expert's weight changes by 2 points or more ({counts})."
        )
    else:
        moves = "gains" if gap[most] > 0 else "loses"
        sentence = (
            f"Expert {experts[most]} {moves} most in {labels[1]}: "
            f"{from_to(first[most], second[most])} of the weight ({counts})."
        )
    shown = most_used(first, second)
    figure = Figure(
        key,
        f"Mean weight of every expert in {labels[0]} and {labels[1]}",
        "" if len(shown) == len(experts) else f"The {len(shown)} most used experts.",
        Dumbbells(
            [experts[e] for e in shown],
            in_percent_of(first[shown]),
            in_percent_of(second[shown]),
            labels,
            "weight, %",
        ),
        legend=(("hollow", labels[0]), ("var(--second)", labels[1])),
    )
    rows = [
        row(name, in_percent(first[e]), in_percent(second[e]), points(gap[e]))
        for e, name in enumerate(experts)
    ]
    head = ("expert", *labels, "difference")
    table = Table("Mean weight, %", head, rows)
    return Block(title, sentence, [figure], [table], hint=hint)
