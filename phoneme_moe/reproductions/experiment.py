"""What an experiment is: jobs that can be done in any order, and what their results amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoneme_moe.reproductions.statistics import Estimate

Cell = str | int | float | Estimate | None
"""Of a table: text, a number, or a mean with its interval."""


@dataclass(frozen=True)
class Table:
    """Published and reproduced figures side by side.

    Attributes:
        name: What its file is called.
        title: What a reader sees above it.
        columns: Headings.
        rows: Cells below each heading.
        digits: Decimals that are shown.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = 1


@dataclass(frozen=True)
class Claim:
    """Something that the paper found, and whether it was found here.

    Attributes:
        statement: The finding, as a sentence.
        published: The paper's figure or words.
        reproduced: Ours.
        holds: Whether they agree, by a rule stated in the statement.
    """

    statement: str
    published: str
    reproduced: str
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """What the results of all jobs amount to."""

    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Job:
    """A part of an experiment that stands alone.

    Attributes:
        key: Its name, also of the file with its result.
        settings: All that its result follows from, as plain types.
    """

    key: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A published experiment, done again.

    Attributes:
        name: On the command line.
        paper: Where it was published.
        question: What it asks, in a sentence or two.
        known: What the paper says of how it was done.
        chosen: What it does not say, what was chosen, and why.
        shortfalls: What was not found, and why, as far as it is known.
        seeds: Runs of the full form.
        quick_seeds: Runs of the quick form.
        plan: The jobs for so many runs; the second argument asks for the quick form.
        run: Does a job; the result is plain types, ready for JSON.
        conclude: Tables and claims from the results of all jobs, by key.
        prepare: Makes what all jobs need, a corpus for instance, before any of them runs; told
            whether it is for the quick form.
        draw: Figures from the same, written into a folder as SVG and PNG; the names of the files.
    """

    name: str
    paper: str
    question: str
    known: Sequence[str]
    chosen: Sequence[str]
    seeds: int
    quick_seeds: int
    plan: Callable[[int, bool], list[Job]]
    run: Callable[[Mapping[str, Any]], dict[str, Any]]
    conclude: Callable[[Mapping[str, Any]], Outcome]
    prepare: Callable[[bool], None] = field(default=lambda quick: None)
    draw: Callable[[Mapping[str, Any], Path], list[str]] = field(default=lambda results, folder: [])
    shortfalls: Sequence[str] = ()
