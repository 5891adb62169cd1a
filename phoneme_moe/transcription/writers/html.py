"""Notebook views of transcripts and model cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phoneme_moe.decoding.decoder import Segment
    from phoneme_moe.transcription.transcript import Transcript

_CELL = "padding:2px 6px;text-align:center;white-space:nowrap"


def definitions(title: str, lines: Iterable[tuple[str, str]]) -> str:
    """A table of names and values under a title."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in lines
    )
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def transcript_html(transcript: Transcript) -> str:
    """A column per phoneme: its start, confidence and the expert with the largest weight.

    A stronger colour means higher confidence; an expert has the same hue throughout.
    """
    hues = _hues(transcript.routing)
    columns = [_column(segment, hues) for segment in transcript.segments]
    heads = ("phoneme", "start (s)", "confidence (%)", "expert", "weight (%)")
    rows = "".join(
        f'<tr><th style="text-align:left">{head}</th>{"".join(cells)}</tr>'
        for head, cells in zip(heads, zip(*columns, strict=True), strict=True)
    )
    routing = ", ".join(
        f"{escape(name)} {100 * weight:.0f} %"
        for name, weight in sorted(transcript.routing.items(), key=lambda item: -item[1])[:6]
    )
    caption = f"{escape(str(transcript.path))}, {transcript.duration:.2f} s"
    if routing:
        caption += f"; mean gate weights: {routing}"
    return (
        f'<div style="overflow-x:auto"><table><caption style="text-align:left">{caption}</caption>'
        f"{rows}</table></div>"
    )


def _hues(routing: Mapping[str, float]) -> dict[str, int]:
    return {name: round(360 * index / len(routing)) for index, name in enumerate(routing)}


def _column(segment: Segment, hues: Mapping[str, int]) -> tuple[str, ...]:
    confident = f"background:rgba(60,130,220,{0.5 * segment.confidence:.2f})"
    expert, weight, colour = "", "", ""
    if segment.experts:
        name = max(segment.experts, key=segment.experts.__getitem__)
        expert, weight = escape(name), f"{100 * segment.experts[name]:.0f}"
        colour = f"background:hsla({hues.get(name, 0)},60%,60%,0.4)"
    return (
        f'<td style="{_CELL};font-weight:bold;{confident}">{escape(segment.phoneme)}</td>',
        f'<td style="{_CELL}">{segment.start:.2f}</td>',
        f'<td style="{_CELL}">{100 * segment.confidence:.0f}</td>',
        f'<td style="{_CELL};{colour}">{expert}</td>',
        f'<td style="{_CELL}">{weight}</td>',
    )
