"""The report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jinja2 import Environment, StrictUndefined

from phoneme_moe.report.palette import expert_colours, from_hex, hex_colour, ink, ramp
from phoneme_moe.report.statistics import (
    BORROW_RATIO,
    DEAD_PART,
    MAIN_SHARE,
    Floats,
    RoutingReport,
    effective_number,
)
from phoneme_moe.report.verdict import names, percent, verdict

#: Speakers on the page; a corpus of thousands would make a file of many megabytes.
MOST_SPEAKERS = 250
#: Bar segments below this weight are drawn as one remainder.
_THINNEST = 0.02
#: Rows above which a section starts folded.
_FOLDED_SPEAKERS, _FOLDED_PHONEMES = 40, 24


@dataclass(frozen=True)
class _Cell:
    """One cell of a heat map: whole per cent, and whether it is the speaker's own expert."""

    per_cent: int
    own: bool


@dataclass(frozen=True)
class _Segment:
    """One part of a stacked bar; ``expert`` is None for the remainder of small parts."""

    expert: int | None
    name: str
    weight: float


@dataclass(frozen=True)
class _Line:
    """One speaker, phoneme or the whole split, ready for the template."""

    name: str
    rows: int
    utterances: int
    cells: list[_Cell]
    segments: list[_Segment]
    most_used: str
    most_used_weight: float
    effective: float
    per_row: float | None
    own_share: float | None
    note: str


@dataclass(frozen=True)
class _Expert:
    """One expert's load and users."""

    name: str
    load: float
    users: str
    heaviest: str
    heaviest_weight: float
    dead: bool


def render_page(report: RoutingReport, title: str, facts: Mapping[str, str]) -> str:
    """The whole report as a self-contained HTML page, light and dark.

    Args:
        report: The statistics.
        title: Heading of the page.
        facts: What the report is about (run, corpus, split ...), name to value.

    Returns:
        The page; it links to ``routing.json``, ``routing.csv``, ``routing.svg`` and
        ``routing.png`` in its own folder and to nothing else.
    """
    shown = report
    if len(report.speakers) > MOST_SPEAKERS:
        shown = report.select(report.most_blended(MOST_SPEAKERS))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "thousands": "{:,}".format}
    template = resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        facts=facts,
        report=report,
        verdict=verdict(report),
        shown_speakers=len(shown.speakers),
        speakers=_speaker_lines(shown),
        overall=_overall_line(report),
        phonemes=_phoneme_lines(report),
        unlabelled=int(report.rows.sum() - report.phoneme_rows.sum()),
        experts=_experts(report),
        has_own=any(own is not None for own in report.own),
        fold_speakers=len(shown.speakers) > _FOLDED_SPEAKERS,
        fold_phonemes=len(report.phonemes) > _FOLDED_PHONEMES,
        upright=max(len(name) for name in report.experts) * len(report.experts) > 76,
        ramps={theme: _shades(ramp(theme)) for theme in ("light", "dark")},
        expert_colours=[
            (colour, hex_colour(ink(from_hex(colour))))
            for colour in expert_colours(len(report.experts))
        ],
        rules={"main": MAIN_SHARE, "borrow": BORROW_RATIO, "dead": DEAD_PART},
    )


def _speaker_lines(report: RoutingReport) -> list[_Line]:
    return [
        _Line(
            name=speaker,
            rows=int(report.rows[i]),
            utterances=int(report.utterances[i]),
            cells=_cells(report.weights[i], report.own[i]),
            segments=_segments(report.weights[i], report.experts),
            most_used=report.experts[best],
            most_used_weight=float(report.weights[i, best]),
            effective=float(report.effective_experts[i]),
            per_row=float(report.effective_per_row[i]),
            own_share=share,
            note=_note(report, i),
        )
        for i, (speaker, best, share) in enumerate(
            zip(report.speakers, report.most_used, report.own_share, strict=True)
        )
    ]


def _phoneme_lines(report: RoutingReport) -> list[_Line]:
    return [
        _plain_line(name, weights, int(rows), int(utterances), report.experts)
        for name, weights, rows, utterances in zip(
            report.phonemes,
            report.phoneme_weights,
            report.phoneme_rows,
            report.phoneme_utterances,
            strict=True,
        )
    ]


def _overall_line(report: RoutingReport) -> _Line:
    num_rows = int(report.rows.sum())
    return _plain_line("all speakers", report.load, num_rows, report.num_utterances, report.experts)


def _plain_line(
    name: str, weights: Floats, rows: int, utterances: int, experts: Sequence[str]
) -> _Line:
    best = int(weights.argmax())
    return _Line(
        name=name,
        rows=rows,
        utterances=utterances,
        cells=_cells(weights, None),
        segments=[],
        most_used=experts[best],
        most_used_weight=float(weights[best]),
        effective=float(effective_number(weights)),
        per_row=None,
        own_share=None,
        note="",
    )


def _note(report: RoutingReport, speaker: int) -> str:
    """What is remarkable about a speaker, in a word or two."""
    lender = report.borrowed_from[speaker]
    told = [f"borrows from {report.experts[lender]}"] if lender is not None else []
    if report.blended[speaker]:
        told.append("blend")
    return ", ".join(told)


def _cells(weights: Floats, own: int | None) -> list[_Cell]:
    return [
        _Cell(round(100 * float(weight)), expert == own) for expert, weight in enumerate(weights)
    ]


def _segments(weights: Floats, experts: Sequence[str]) -> list[_Segment]:
    drawn = [i for i, weight in enumerate(weights) if weight >= _THINNEST]
    parts = [_Segment(i, experts[i], float(weights[i])) for i in drawn]
    rest = 1.0 - sum(part.weight for part in parts)
    return [*parts, _Segment(None, "others", rest)] if rest > 0.002 else parts


def _experts(report: RoutingReport) -> list[_Expert]:
    heaviest = report.weights.argmax(axis=0)
    return [
        _Expert(
            name=name,
            load=float(report.load[i]),
            users=names([report.speakers[user] for user in report.users[i]], 4) or "nobody",
            heaviest=report.speakers[heaviest[i]],
            heaviest_weight=float(report.weights[heaviest[i], i]),
            dead=i in report.dead,
        )
        for i, name in enumerate(report.experts)
    ]


def _shades(colours: Iterable[np.ndarray]) -> list[tuple[str, str]]:
    """Background and text colour of every whole per cent."""
    shades = [(float(red), float(green), float(blue)) for red, green, blue in colours]
    return [(hex_colour(shade), hex_colour(ink(shade))) for shade in shades]
