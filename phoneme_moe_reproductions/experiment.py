"""A published experiment: its description, its jobs, and what their results amount to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoneme_moe_reproductions.results import Outcome


@dataclass(frozen=True)
class Job:
    """A part of an experiment that can run by itself.

    Attributes:
        key: Names the job and the file of its result.
        settings: Everything that determines the result, as plain types.
    """

    key: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """An experiment in words.

    Attributes:
        paper: Where it was published.
        question: What it asks, in a sentence or two.
        known: What the paper says about the method.
        chosen: What the paper does not say, what was chosen, and why.
        shortfalls: What was not reproduced, and why, as far as is known.
    """

    paper: str
    question: str
    known: tuple[str, ...]
    chosen: tuple[str, ...]
    shortfalls: tuple[str, ...]


def read_description(
    *names: str, values: Mapping[str, Any] | None = None, variant: str | None = None
) -> Description:
    """Reads a description from Markdown files of this package.

    A file has sections ``## Paper``, ``## Question`` (paragraphs), ``## Known``, ``## Chosen`` and
    ``## Shortfalls`` (bullets). ``## Chosen: digits`` belongs to the variant ``digits`` only.

    Args:
        names: Files relative to this package, without suffix; the bullets of all are joined.
        values: Fills placeholders such as ``{EPOCHS}``; the constants of a module, for instance.
        variant: Which variant of the experiment.
    """
    sections: dict[str, tuple[str, ...]] = {}
    for name in names:
        text = (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
        for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            heading, _, body = section.partition("\n")
            heading, _, only = heading.partition(": ")
            if only in ("", variant):
                items = re.split(r"^- ", body.strip(), flags=re.MULTILINE)
                lines = [" ".join(item.split()).format_map(values or {}) for item in items if item]
                sections[heading] = (*sections.get(heading, ()), *lines)
    return Description(
        " ".join(sections["Paper"]),
        " ".join(sections["Question"]),
        *(sections.get(heading, ()) for heading in ("Known", "Chosen", "Shortfalls")),
    )


@dataclass(frozen=True)
class Experiment:
    """A published experiment that can be repeated.

    Attributes:
        name: On the command line.
        description: In words.
        seeds: Runs of the full form.
        quick_seeds: Runs of the quick form.
        plan: The jobs for a number of runs; the second argument selects the quick form.
        run: Does a job from its settings; the result is plain types, ready for JSON.
        conclude: Tables and claims from the results of all jobs, by key.
        draw: Figures from the same, written into a folder as SVG and PNG; returns the file names.
        prepare: Makes what all jobs need, such as a corpus, before any of them runs; its argument
            selects the quick form.
    """

    name: str
    description: Description
    seeds: int
    quick_seeds: int
    plan: Callable[[int, bool], list[Job]]
    run: Callable[[Mapping[str, Any]], dict[str, Any]]
    conclude: Callable[[Mapping[str, Any]], Outcome]
    draw: Callable[[Mapping[str, Any], Path], list[str]]
    prepare: Callable[[bool], None] = field(default=lambda quick: None)
