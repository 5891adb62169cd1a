"""A report as files: data for programs, a page for people, a picture for papers."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.report.statistics import RoutingReport

#: Version of ``routing.json`` (docs/schemas/routing.schema.json).
SCHEMA_VERSION = 1


def write_report(
    report: RoutingReport, folder: Path, *, title: str, facts: Mapping[str, str]
) -> list[Path]:
    """Write ``routing.json``, ``routing.csv``, ``routing.svg``, ``routing.png``, ``report.html``.

    An older report in the folder is replaced, each file at once and whole.

    Args:
        report: The statistics.
        folder: Where to write; made when it is not there.
        title: Heading of page and figure.
        facts: What the report is about (run, corpus, split ...), name to value.

    Returns:
        The files written.
    """
    # Here and not above: matplotlib and jinja2 are slow to import and only files need them.
    from phoneme_moe.report.figures import figure_bytes, heat_map
    from phoneme_moe.report.page import render_page

    figure = heat_map(report, title)
    # Everything is rendered before anything is replaced.
    contents = {
        "routing.json": json_text(report, title, facts).encode(),
        "routing.csv": csv_text(report).encode(),
        "routing.svg": figure_bytes(figure, "svg", title),
        "routing.png": figure_bytes(figure, "png", title),
        "report.html": render_page(report, title, facts).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _replace(folder / name, content)
    return [folder / name for name in contents]


def json_text(report: RoutingReport, title: str, facts: Mapping[str, str]) -> str:
    """The report as JSON, one line per key; docs/routing.md explains every key.

    Lists over speakers, experts or phonemes run parallel to those names. Numbers are written in
    full, so reading them gives the same float64; speaker by phoneme, the bulk, to six decimals.
    """
    keys: dict[str, Any] = {
        "version": SCHEMA_VERSION,
        "title": title,
        "facts": dict(facts),
        "unit": report.unit,
        "num_rows": int(report.rows.sum()),
        "num_utterances": report.num_utterances,
        "speakers": report.speakers,
        "experts": report.experts,
        "phonemes": report.phonemes,
        "weights": report.weights.tolist(),
        "counts": {"rows": report.rows.tolist(), "utterances": report.utterances.tolist()},
        "most_used": [report.experts[best] for best in report.most_used],
        "effective_experts": report.effective_experts.tolist(),
        "effective_per_row": report.effective_per_row.tolist(),
        "own_share": report.own_share,
        "borrowed_from": [
            None if lender is None else report.experts[lender] for lender in report.borrowed_from
        ],
        "blended": report.blended,
        "load": report.load.tolist(),
        "users": [[report.speakers[user] for user in users] for users in report.users],
        "dead": [report.experts[expert] for expert in report.dead],
        "phoneme_weights": report.phoneme_weights.tolist(),
        "phoneme_counts": {
            "rows": report.phoneme_rows.tolist(),
            "utterances": report.phoneme_utterances.tolist(),
        },
        "speaker_phoneme_weights": [
            [None if np.isnan(weights[0]) else weights.tolist() for weights in speaker]
            for speaker in np.round(report.speaker_phoneme_weights, 6)
        ],
        "speaker_phoneme_rows": report.speaker_phoneme_rows.tolist(),
    }
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in keys.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def csv_text(report: RoutingReport) -> str:
    """Mean weights as a tidy table: kind (speaker, phoneme), name, expert, weight, counts."""
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["kind", "name", "expert", "weight", "rows", "utterances"])
    for kind, names, weights, rows, utterances in (
        ("speaker", report.speakers, report.weights, report.rows, report.utterances),
        (
            "phoneme",
            report.phonemes,
            report.phoneme_weights,
            report.phoneme_rows,
            report.phoneme_utterances,
        ),
    ):
        for i, name in enumerate(names):
            for expert, weight in zip(report.experts, weights[i], strict=True):
                table.writerow([kind, name, expert, f"{weight:.8f}", rows[i], utterances[i]])
    return content.getvalue()


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
