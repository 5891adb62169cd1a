"""Parts of ``routing.json``, in the order in which the routing report has them.

Lists over speakers, experts or phonemes have the order of the lists of their names. docs/routing.md
explains every number.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from phoneme_moe.files.documents import Document

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


class MeasureValues(Part):
    """A registered number of each speaker (``report.measures``)."""

    title: str
    """Heading of its column, with the unit."""
    by_speaker: list[float | None]
    """The number of each speaker; null where it is undefined."""


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
