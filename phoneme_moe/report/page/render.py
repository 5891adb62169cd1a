"""The routing report as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.page.cell_links import CLIPS, Cells
from phoneme_moe.report.page.parts import Section
from phoneme_moe.report.page.section_phonemes import phonemes_section
from phoneme_moe.report.page.section_speakers import speakers_section
from phoneme_moe.report.page.section_statistics import cost_section, statistics_section
from phoneme_moe.report.page.section_time import time_section
from phoneme_moe.report.page.section_training import training_section
from phoneme_moe.report.page.template import read, render
from phoneme_moe.report.serving import BORROW_RATIO, MAIN_SHARE

#: Files beside the page, with their content.
_FILES = {
    "routing.json": "all values on this page",
    "routing.csv": "tidy table of means",
    "routing.parquet": "every frame",
    "routing.svg": "heat map",
    "routing.png": "heat map",
}


def render_page(
    document: Mapping[str, Any], audio: Mapping[str, bytes] | None = None, clips: Cells = ()
) -> str:
    """Renders the report as a self-contained HTML page with light and dark themes.

    Args:
        document: The content of ``routing.json``, version 2; null or missing sections are omitted.
        audio: Ogg Opus or WAV files by utterance.
        clips: Cells of the heat maps with clips in the folder beside the page.

    Returns:
        The page, which links only to the data files and clips in its own folder.
    """
    from bokeh.resources import Resources  # slow to import

    # BokehJS without widgets and tables, then the scripts of the page.
    bokeh = Resources(mode="inline", components=["bokeh"], minified=True).js_raw
    return render(
        "page/report.html.jinja",
        scripts=[*bokeh[:1], read("page/page.js"), read("page/time_view.js")],
        title=document["title"],
        facts=_facts(document),
        verdict=document.get("verdict") or [],
        missing=document.get("missing") or [],
        sections=report_sections(document, audio, clips),
        files={**_FILES, f"{CLIPS}/index.html": "clips"} if clips else _FILES,
        unit=document.get("unit") or "frame",
        limits={"main": MAIN_SHARE, "borrow": BORROW_RATIO, "dead": DEAD_PART},
    )


def report_sections(
    document: Mapping[str, Any], audio: Mapping[str, bytes] | None = None, clips: Cells = ()
) -> list[Section]:
    """The sections of the page in its order, without those that the document has no values for.

    Args:
        document: As for ``render_page``.
        audio: As for ``render_page``.
        clips: As for ``render_page``.
    """
    sections = [
        speakers_section(document, clips),
        phonemes_section(document, clips),
        statistics_section(document),
        time_section(document, audio or {}),
        training_section(document),
        cost_section(document),
    ]
    return [section for section in sections if section is not None]


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
    """Properties of the report, name to value."""
    facts = {str(name): str(value) for name, value in (document.get("facts") or {}).items()}
    for key in ("speakers", "experts"):
        facts[key] = f"{len(document.get(key) or []):,}"
    if document.get("unit") != "token":
        facts["utterances"] = f"{document.get('num_utterances', 0):,}"
    facts[f"{document.get('unit') or 'frame'}s"] = f"{document.get('num_rows', 0):,}"
    return facts
