"""``seeds.json``: what the runs of several seeds have in common, and how far they differ."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phoneme_moe.report.document_parts import Count, Interval, Part, Share


class Estimate(Part):
    """A value of every run, and the mean over runs."""

    values: Annotated[list[float], Field(min_length=2)]
    """In the order of the runs."""
    mean: float
    interval: Interval
    """95 % interval of the mean over runs of other seeds (Student's t)."""


class SeedRun(Part):
    """One of the runs."""

    folder: str
    seed: int
    experts: list[str]
    """This run's expert in the place of each of the first run's experts."""
    agreement: list[Share]
    """Intersection over union of the weights of each such pair; 1 in the first run."""


class SeedsDocument(Part):
    """Means over runs of one recipe with other seeds, their experts matched to the first run's.

    Lists over speakers or experts have the order of the lists of their names.
    """

    version: Literal[1]
    title: str
    facts: dict[str, str]
    """Recipe, corpus, split and other properties that the runs share, name to value."""
    unit: Literal["frame", "token"]
    runs: Annotated[list[SeedRun], Field(min_length=2)]
    speakers: Annotated[list[str], Field(min_length=1)]
    experts: Annotated[list[str], Field(min_length=1)]
    """Names of the experts in the first run."""
    error_rate: Estimate
    speaker_information: Estimate | None
    """Bits that routing and speaker share, minus chance; null if no run tells them."""
    weights: list[list[Estimate]]
    """Mean weight of each expert for each speaker, speakers x experts."""
    effective_experts: list[Estimate]
    """Effective number of experts of each speaker."""
    load: list[Estimate]
    """Mean weight of each expert over all rows."""
    leading: list[list[Count]]
    """For each speaker, the index of the expert with the greatest weight in each run."""
    removal: list[Estimate] | None
    """Change of the error rate without each expert; null unless every run has it."""
