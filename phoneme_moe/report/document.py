"""The routing report as one typed value: ``routing.json``, version 2.

Lists over speakers, experts or phonemes have the order of the lists of their names. The fields are
in the order of the file; docs/routing.md explains every number.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field

from phoneme_moe.report.document_parts import (
    Clustering,
    Contribution,
    Correctness,
    Cost,
    Count,
    Counts,
    Edges,
    Interval,
    MeasureValues,
    Part,
    PermutationTest,
    Share,
    Shares,
    SparseLayers,
    TrainingHistory,
    UtteranceView,
    Weight,
    Weights,
)
from phoneme_moe.report.serving import Serving


class RoutingDocument(Part):
    """``routing.json``: routing of speakers and phonemes to experts, and its effect on errors.

    Lists over speakers, experts or phonemes have the order of the lists of their names.
    docs/routing.md explains every number.
    """

    version: Literal[2]
    """Version of this format; increases when a key changes its meaning or is removed."""
    title: str
    """Heading of the report."""
    facts: dict[str, str]
    """Recipe, corpus, split and other properties, name to value."""
    unit: Literal["frame", "token"]
    """Kind of row: a frame of posteriors, or a token."""
    num_rows: Annotated[int, Field(ge=1)]
    num_utterances: Annotated[int, Field(ge=1)]
    speakers: Annotated[list[str], Field(min_length=1)]
    """Names of the speakers with rows."""
    experts: Annotated[list[str], Field(min_length=1)]
    phonemes: list[str]
    """Names of the phonemes with rows; empty if no row has a phoneme."""
    weights: list[Weights]
    """Mean weights, speakers x experts."""
    counts: Counts
    """Numbers of rows and utterances of each speaker."""
    most_used: list[str]
    """Each speaker's most used expert."""
    effective_experts: list[Annotated[float, Field(ge=1)]]
    """Effective number of experts of each speaker's mean weights: exp of their entropy."""
    effective_per_row: list[Annotated[float, Field(ge=1)]]
    """Effective number of experts within one row, geometric mean over the speaker's rows."""
    own_share: list[Weight | None]
    """Weight of the speaker's own expert (of the same name); null if there is none."""
    borrowed_from: list[str | None]
    """The other expert that serves a speaker who has an own expert; null otherwise."""
    blended: list[bool]
    """Whether no expert has half of the speaker's weight."""
    serving: list[Serving] | None = None
    """Which expert serves each speaker, one of five cases; null in older reports."""
    measures: dict[str, MeasureValues] = Field(default={})
    """Registered numbers of each speaker, by key; empty in older reports."""
    load: Weights
    """Mean weight of each expert over all rows."""
    users: list[list[str]]
    """For each expert, the speakers whose most used expert it is, largest weight first."""
    dead: list[str]
    """Experts with less than a tenth of an equal load that no speaker uses most."""
    phoneme_weights: list[Weights]
    """Mean weights, phonemes x experts."""
    phoneme_counts: Counts
    """Numbers of rows and utterances of each phoneme."""
    speaker_phoneme_weights: list[list[Weights | None]]
    """Mean weights, speakers x phonemes x experts, to six decimals; null without a row."""
    speaker_phoneme_rows: list[list[Count]]
    """Number of rows, speakers x phonemes."""
    weight_intervals: list[list[Interval]]
    """95 % interval of each mean weight: bootstrap over each speaker's utterances."""
    adjusted_weights: list[Shares] | None
    """Mean weights with every speaker reweighted to the same phoneme mix, speakers x experts."""
    adjusted_phonemes: list[str] | None
    """The phonemes of that mix: those that occur for all speakers."""
    clustering: Clustering | None
    mixing: list[Share | None]
    """Entropy within rows divided by the entropy of the speaker's mean weights: 1 if experts are
    mixed in every row, 0 if they alternate between rows; null if one expert has all the weight."""
    tests: list[PermutationTest]
    edges: Edges | None
    correctness: Correctness | None
    contribution: Contribution
    utterances: list[UtteranceView]
    """Selected utterances over time."""
    training: TrainingHistory | None
    layers: SparseLayers | None
    cost: Cost
    missing: list[str]
    """What this report lacks, and why."""
    verdict: list[str]
    """Findings as sentences, the most important first."""


def json_text(document: RoutingDocument) -> str:
    """The document as JSON, one line per key; reading it gives the same numbers."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.model_dump(mode="json").items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
