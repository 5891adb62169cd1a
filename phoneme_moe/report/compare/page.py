"""A comparison as one HTML file without scripts, in the style of the report."""

from __future__ import annotations

from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.report.compare.section_errors import errors_section
from phoneme_moe.report.compare.section_routing import (
    agreement_section,
    matching_section,
    routing_section,
)
from phoneme_moe.report.compare.section_utterances import utterances_section
from phoneme_moe.report.page.parts import Section
from phoneme_moe.report.page.template import render


def render_comparison(document: ComparisonDocument) -> str:
    """Renders the comparison as a self-contained HTML page with light and dark themes.

    Args:
        document: The comparison.

    Returns:
        The page, which links only to ``comparison.json`` in its own folder.
    """
    slots = document.matching.slots if document.matching else []
    sections: list[Section] = []
    if document.error_rate:
        sections.append(errors_section(document.error_rate))
    if document.matching and document.agreement and document.routing_by_speaker:
        sections.append(matching_section(document.matching, document.unit))
        sections.append(agreement_section(document.agreement.measures, document.agreement.shuffles))
        sections.append(routing_section(document.routing_by_speaker, slots))
    if document.utterances:
        sections.append(utterances_section(document, slots))
    return render(
        "compare/comparison.html.jinja",
        styles=["compare/comparison.css"],
        num_experts=len(slots),
        title=document.title,
        facts=_facts(document),
        verdict=document.verdict,
        missing=document.missing,
        sections=sections,
        files={"comparison.json": "all values on this page"},
        document=document,
    )


def _facts(document: ComparisonDocument) -> dict[str, str]:
    facts = {}
    for letter, run in (("A", document.a), ("B", document.b)):
        experts = "no routing" if run.experts is None else f"{len(run.experts)} experts"
        in_name = run.layer is None or run.name.endswith(f" {run.layer}")
        facts[letter] = f"{run.name} ({experts}{'' if in_name else f', {run.layer}'})"
    facts |= {"corpus": document.corpus, "split": document.split}
    frames = document.unit == "frame"
    facts["utterances" if frames else "tokens"] = f"{document.num_utterances:,}"
    if frames and document.num_rows is not None and document.frame_seconds is not None:
        name = f"frames of {1000 * document.frame_seconds:g} ms"
        facts[name] = f"{document.num_rows:,}"
    return facts
