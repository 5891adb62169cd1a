"""The summary of several seeds for a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoneme_moe.report.number_format import DASH, in_percent, names, number
from phoneme_moe.report.seeds.document import Estimate, SeedsDocument
from phoneme_moe.system.terminal import printable

_MOST_SPEAKERS = 40


def plus_minus(one: Estimate, scale: float = 100, places: int = 1) -> str:
    """``53.2 ± 4.1``: mean and half of the interval's width."""
    half = (one.interval[1] - one.interval[0]) / 2
    return f"{number(scale * one.mean, places)} ± {number(scale * half, places)}"


def unstable_speakers(document: SeedsDocument) -> list[str]:
    """Speakers whose expert with the greatest weight is not the same in all runs."""
    pairs = zip(document.speakers, document.leading, strict=True)
    return [speaker for speaker, leading in pairs if len(set(leading)) > 1]


def sentences(document: SeedsDocument) -> list[str]:
    """The findings as sentences, the most important first."""
    seeds = names([str(run.seed) for run in document.runs], 12)
    measure = "error rate of tokens" if document.unit == "token" else "phoneme error rate"
    found = [
        f"Over {len(document.runs)} seeds ({seeds}) the {measure} is "
        f"{plus_minus(document.error_rate, places=2)} % (mean and 95 % interval over seeds)."
    ]
    if len(document.experts) < 2:
        return found
    unstable = unstable_speakers(document)
    if unstable:
        found.append(
            f"{len(unstable)} of {len(document.speakers)} speakers have another leading expert in "
            f"some run: {names([printable(name) for name in unstable])}."
        )
    else:
        found.append("Every speaker has the same leading expert in all runs.")
    others = [value for run in document.runs[1:] for value in run.agreement]
    found.append(
        f"Matched experts share {in_percent(sum(others) / len(others), 0)} % of their weight with "
        "those of the first run."
    )
    if document.speaker_information is not None:
        found.append(
            "Mutual information between routing and speaker, above chance: "
            f"{plus_minus(document.speaker_information, 1, 2)} bits."
        )
    return found


def seeds_text(document: SeedsDocument) -> RenderableType:
    """Formats the summary: sentences and, for each speaker, the leading expert with its weight."""
    parts: list[RenderableType] = [Text(sentence) for sentence in sentences(document)]
    if len(document.experts) < 2:
        return Group(*parts)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("speaker", overflow="fold")
    table.add_column("leading expert", overflow="fold")
    for heading in ("weight, %", "in runs", "eff. experts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, speaker in enumerate(document.speakers[:_MOST_SPEAKERS]):
        means = [one.mean for one in document.weights[i]]
        best = means.index(max(means))
        table.add_row(
            printable(speaker),
            printable(document.experts[best]),
            plus_minus(document.weights[i][best], places=0),
            f"{document.leading[i].count(best)} of {len(document.runs)}",
            plus_minus(document.effective_experts[i], 1) if document.effective_experts else DASH,
        )
    parts.append(table)
    if len(document.speakers) > _MOST_SPEAKERS:
        parts.append(Text(f"{len(document.speakers) - _MOST_SPEAKERS} more are in seeds.json."))
    return Group(*parts)
