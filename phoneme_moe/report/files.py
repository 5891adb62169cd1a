"""Writing a report to files: data, an interactive page and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.files.csv_text import csv_text
from phoneme_moe.report.document import RoutingDocument, json_text
from phoneme_moe.report.page.cell_links import Cells
from phoneme_moe.report.statistics import RoutingReport


def write_report(
    report: RoutingReport,
    document: RoutingDocument,
    folder: Path,
    audio: Mapping[str, bytes] | None = None,
    clips: Cells = (),
) -> list[Path]:
    """Writes ``routing.json``, ``routing.csv``, ``routing.svg``, ``routing.png``, ``report.html``.

    Existing files are replaced, each atomically.

    Args:
        report: The statistics.
        document: The whole report.
        folder: Output folder, created if missing.
        audio: Audio files for the page of the utterances shown over time, by identifier.
        clips: Cells of the heat maps with clips in the folder ``clips`` beside the page.

    Returns:
        The written files by name.
    """
    # Imported here, since matplotlib, jinja2 and Bokeh are slow to import.
    from phoneme_moe.report.page.picture import figure_bytes, heat_map
    from phoneme_moe.report.page.render import render_page

    title = document.title
    figure = heat_map(report, title, document.clustering)
    # Everything is rendered before any file is replaced.
    contents = {
        "routing.json": json_text(document).encode(),
        "routing.csv": routing_csv(report, document).encode(),
        "routing.svg": figure_bytes(figure, "svg", title),
        "routing.png": figure_bytes(figure, "png", title),
        "report.html": render_page(document.model_dump(mode="json"), audio or {}, clips).encode(),
    }
    for name, content in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in contents]


def routing_csv(report: RoutingReport, document: RoutingDocument) -> str:
    """Mean weights as tidy CSV: kind (speaker, phoneme), name, expert, weight, interval.

    Weights adjusted for the phoneme mix are in ``adjusted``; cells without a measurement are empty.
    """
    rows: list[list[object]] = [
        ["kind", "name", "expert", "weight", "low", "high", "adjusted", "rows", "utterances"]
    ]
    intervals, adjusted = document.weight_intervals, document.adjusted_weights
    for i, name in enumerate(report.speakers):
        for e, expert in enumerate(report.experts):
            low, high = intervals[i][e]
            other = "" if adjusted is None else f"{adjusted[i][e]:.8f}"
            weight = f"{report.weights[i, e]:.8f}"
            counts = (report.rows[i], report.utterances[i])
            rows.append(
                ["speaker", name, expert, weight, f"{low:.8f}", f"{high:.8f}", other, *counts]
            )
    for i, name in enumerate(report.phonemes):
        for e, expert in enumerate(report.experts):
            weight = f"{report.phoneme_weights[i, e]:.8f}"
            counts = (report.phoneme_rows[i], report.phoneme_utterances[i])
            rows.append(["phoneme", name, expert, weight, "", "", "", *counts])
    return csv_text(rows)
