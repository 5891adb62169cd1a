"""The summary of several seeds as one HTML file without scripts, in the style of the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phoneme_moe.report.number_format import in_percent, number, percent, points
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.parts import Block, Cell, Figure, Section, Table, row
from phoneme_moe.report.page.template import render
from phoneme_moe.report.seeds.document import Estimate, SeedsDocument
from phoneme_moe.report.seeds.text import plus_minus, sentences

_FOLDED = 60
"""Number of rows above which a table is initially collapsed."""


def render_seeds(document: SeedsDocument) -> str:
    """Renders the summary as a self-contained HTML page with light and dark themes.

    Args:
        document: The summary.

    Returns:
        The page, which links only to ``seeds.json`` in its own folder.
    """
    sections = [_runs(document)]
    if len(document.experts) > 1:
        sections += [_speakers(document), _experts(document)]
    facts = {**document.facts, "runs": str(len(document.runs))}
    facts |= {"speakers": f"{len(document.speakers):,}", "experts": str(len(document.experts))}
    return render(
        "seeds/seeds.html.jinja",
        title=document.title,
        facts=facts,
        verdict=sentences(document),
        missing=[],
        sections=sections,
        files={"seeds.json": "all values on this page"},
        document=document,
    )


def _runs(document: SeedsDocument) -> Section:
    information = document.speaker_information
    rows = [
        row(
            str(run.seed),
            in_percent(document.error_rate.values[i], 2),
            number(None if information is None else information.values[i]),
            percent(float(np.mean(run.agreement))),
            run.folder,
        )
        for i, run in enumerate(document.runs)
    ]
    mean = "" if information is None else plus_minus(information, 1, 2)
    rows.append(row("mean", plus_minus(document.error_rate, places=2), mean, "", ""))
    head = ["seed", "error rate, %", "bits about the speaker", "experts as in the first run", "run"]
    table = Table("Runs", head, rows, frozenset({3}), total=True)
    hint = "Means with the half width of their 95 % interval over seeds (Student's t)."
    return Section("runs", "Runs", [Block("", "", tables=[table], open_tables=True, hint=hint)])


def seeds_figures(document: SeedsDocument) -> list[Figure]:
    """What the page shows as a heat map, as a figure for a paper; none for a single expert."""
    if len(document.experts) < 2:
        return []
    heat = replace(
        _heat_map(document),
        effective=np.array([one.mean for one in document.effective_experts]),
    )
    caption = (
        "Mean gate weight over runs that differ in their seed, in %; outlined: the leading expert. "
        "Experts have the names of the first run."
    )
    title = f"mean gate weights over {len(document.runs)} runs"
    return [heat.figure("heat-speakers", title, caption, "Bar: mean effective number of experts.")]


def _heat_map(document: SeedsDocument) -> HeatMap:
    """Mean weights over runs, with intervals; the leading expert of the mean is outlined."""
    means = np.array([[one.mean for one in line] for line in document.weights])
    return HeatMap(
        rows=document.speakers,
        columns=document.experts,
        weights=means,
        intervals=np.array([[one.interval for one in line] for line in document.weights]),
        outlined=[int(index) for index in means.argmax(axis=1)],
        outline="leading expert",
        unit=document.unit,
    )


def _speakers(document: SeedsDocument) -> Section:
    heat, runs = _heat_map(document), len(document.runs)
    best = heat.weights.argmax(axis=1).tolist()
    more: dict[str, list[Cell | str]] = {
        "leads in runs": [
            Cell(f"{leading.count(top)} of {runs}", strong=leading.count(top) < runs)
            for leading, top in zip(document.leading, best, strict=True)
        ],
        "eff. experts": [plus_minus(one, 1) for one in document.effective_experts],
    }
    load = np.array([one.mean for one in document.load])
    table = heat.table(
        "Mean weights over runs, %", more=more, total=("all", load), places=0, flat=True
    )
    hint = (
        "Mean weight of each expert over the runs, in per cent, with the 95 % interval of the mean "
        "over seeds. Outlined: the expert with the greatest mean; it leads in so many of the runs. "
        "Experts have the names of the first run."
    )
    folded = len(document.speakers) <= _FOLDED
    block = Block("", "", tables=[table], open_tables=folded, hint=hint)
    return Section("speakers", "Speakers and experts", [block])


def _experts(document: SeedsDocument) -> Section:
    rows = []
    for e, expert in enumerate(document.experts):
        partners = [f"{run.experts[e]} ({percent(run.agreement[e])})" for run in document.runs[1:]]
        removal = "" if document.removal is None else _in_points(document.removal[e])
        rows.append(row(expert, plus_minus(document.load[e]), removal, *partners))
    head = ["expert", "load, %", "error rate without it, points"]
    head += [f"seed {run.seed}" for run in document.runs[1:]]
    texts = frozenset(range(2, 2 + len(document.runs) - 1))
    table = Table("Experts and their partners", head, rows, texts)
    hint = (
        f"Experts of each run are matched one to one to those of the first (seed "
        f"{document.runs[0].seed}), such that the weight that they share by speaker and phoneme is "
        "greatest; experts named after speakers are matched by name. In brackets: intersection "
        "over union of the weights of both."
    )
    return Section(
        "experts", "Experts", [Block("", "", tables=[table], open_tables=True, hint=hint)]
    )


def _in_points(one: Estimate) -> str:
    half = (one.interval[1] - one.interval[0]) / 2
    return f"{points(one.mean)} ± {in_percent(half)}"
