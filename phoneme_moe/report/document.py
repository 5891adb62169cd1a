"""The routing report as one typed value: ``routing.json``, version 2.

Lists over speakers, experts or phonemes have the order of the lists of their names. The fields are
in the order of the file; docs/routing.md explains every number.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from phoneme_moe.files.documents import Document
from phoneme_moe.report.serving import Serving

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
#: Tolerance of sums of weights, which are float32 in the model.
Weight = Annotated[float, Field(ge=0, le=1.000001)]
Weights = Annotated[list[Weight], Field(min_length=1)]
Shares = list[Share]
Interval = tuple[float, float]


class Part(Document):
    """A part of the document, which can be created from an object with the same attributes."""

    # Not strict, since scipy's linkage has float indices and pairs are lists in JSON.
    model_config = ConfigDict(strict=False, from_attributes=True)


class Counts(Part):
    """Numbers of rows and utterances behind each mean."""

    rows: list[Annotated[int, Field(ge=1)]]
    utterances: list[Annotated[int, Field(ge=1)]]


class Clustering(Part):
    """Orders of speakers and experts, as indices, in which neighbours are similar."""

    speaker_order: list[Count]
    """Indices of the speakers in the order of the leaves."""
    expert_order: list[Count]
    """Indices of the experts by the position of their speakers; unused experts last."""
    linkage: list[tuple[Count, Count, float, Count]]
    """As in scipy.cluster.hierarchy: two clusters, Hellinger distance, number of speakers."""


class PermutationTest(Part):
    """A permutation test over utterances."""

    name: Literal[
        "speaker_information",
        "phoneme_information",
        "speaker_beyond_phonemes",
        "interaction",
        "cramers_v",
        "own_share",
    ]
    scope: str | None
    """The speaker to which the test applies; null for all."""
    value: float
    chance: float
    """Mean under permutation."""
    corrected: float
    """The value minus chance."""
    unit: Literal["bits", ""]
    p: Share
    q: Share
    """False discovery rate (Benjamini and Hochberg) over all tests of the report."""
    significant: bool
    """Whether q is at most 0.05."""
    draws: Count
    """Permutations."""


class MeanWeights(Part):
    """Mean weights over one kind of rows."""

    rows: Count
    weights: Shares


class Edges(Part):
    """Rows inside a phoneme (steady), and rows that are its first or last (edge)."""

    steady: MeanWeights
    edge: MeanWeights


class Correctness(Part):
    """Tokens classified right or wrong, or frames that emit a correct or a wrong phoneme."""

    wrong: MeanWeights
    right: MeanWeights
    unjudged: Count | None = None
    """Number of frames that emit no phoneme (CTC blank), which are neither; null in older reports,
    which count frames of the blank as wrong."""


class Removal(Part):
    """The error rate with one expert ablated."""

    expert: Count
    error_rate: float
    change: float
    """Change from the error rate with the expert, on the same utterances."""
    interval: Interval
    """95 % interval, paired bootstrap over utterances."""
    by_speaker: list[float | None]
    """Change of each speaker's error rate; null if the sample has none of its utterances."""


class Uniform(Part):
    """The change of the error rate when all experts have the same weight in every row."""

    change: float
    interval: Interval
    p: Share


class Contribution(Part):
    """What the experts contribute to recognition."""

    credit: list[list[Share] | None] | None
    """Each expert's share of the probability of the spoken phonemes, speakers x experts."""
    base_error_rate: Annotated[float, Field(ge=0)]
    """Error rate on the whole split with the run's decoding settings."""
    removal: list[Removal] | None
    uniform: Uniform | None
    removal_utterances: Count
    """Number of utterances (tokens) behind removal and uniform: a sample of a large split."""


class Envelope(Part):
    """Lowest and highest sample of each piece of a waveform, normalised to a peak of 1."""

    seconds_per_point: float
    low: list[float]
    high: list[float]


class Spectrogram(Part):
    """Mel energies as bytes, band by band: 0 is quiet, 255 the maximum."""

    seconds_per_column: float
    bands: Count
    columns: Count
    base64: str


class Segment(Part):
    """A phoneme with its times in seconds."""

    phoneme: str
    start: Annotated[float, Field(ge=0)]
    end: Annotated[float, Field(ge=0)]


class UtteranceView(Part):
    """One utterance over time."""

    utterance: str
    speaker: str
    why: Literal["typical", "uncertain", "worst", "asked"]
    """Reason why it is shown; ``asked``: requested by name."""
    seconds: float
    frame_seconds: float
    error_rate: float | None
    envelope: Envelope
    spectrogram: Spectrogram
    reference: list[Segment]
    hypothesis: list[Segment]
    weights: list[list[Share]]
    """Weights, rows x experts, to four decimals."""
    entropy: list[Annotated[float, Field(ge=0)]]
    """Entropy of each row's weights in bits."""


class LayerHistory(Part):
    """One router over the epochs; null for epochs that did not train it."""

    layer: str
    experts: list[str]
    load: list[list[float] | None]
    variation: list[float | None]
    """Coefficient of variation of the load."""
    dead: list[Count | None]
    """Number of dead experts."""
    entropy: list[float | None] | None
    """Effective number of experts in a frame, exp of the router's mean entropy."""


class TrainingHistory(Part):
    """Routing epoch by epoch."""

    epochs: list[str]
    """Stage and number of each epoch."""
    layers: list[LayerHistory]


class SparseLayers(Part):
    """Comparison of the sparse layers of an encoder."""

    names: list[str]
    experts: list[Count]
    load: list[list[Share]]
    effective: list[float]
    """Effective number of experts of each layer's load."""
    dead: list[list[Count]]
    agreement: list[list[Share]]
    """Normalised mutual information of two layers' first experts in the same row."""


class Cost(Part):
    """Number of parameters of the whole model."""

    parameters: Count
    active_parameters: Count
    """Number of parameters used for one frame."""
    multiply_adds_per_frame: Count | None
    frame_ms: float
    weight_bytes: Count


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
