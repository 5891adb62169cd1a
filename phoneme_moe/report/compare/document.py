"""The content of ``comparison.json``; page and terminal read nothing else.

docs/schemas/comparison.schema.json is generated from these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from phoneme_moe.documents import Document

Share = Annotated[float, Field(ge=0, le=1.000001)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[float, float]
ExpertNames = Annotated[list[str], Field(min_length=2)]
Turn = tuple[Count, Annotated[int, Field(ge=1)]]


class _Part(Document):
    # Not strict: pairs are lists in JSON.
    model_config = ConfigDict(strict=False)


class ComparedRun(_Part):
    """One of the two runs."""

    name: str
    """Its folder's name, longer where both have the same."""
    folder: str
    recipe: str
    layer: str | None
    """The sparse layer whose routing is compared; null for a gate."""
    experts: ExpertNames | None
    """Names; null where the run has no routing."""


class _Speaker(_Part):
    speaker: str


class _Controlled(_Part):
    q: Share
    """p after false-discovery control over all speakers (Benjamini and Hochberg 1995)."""
    significant: bool
    """q is at most 0.05."""


class ErrorRates(_Part):
    """Errors of both runs on the same utterances."""

    utterances: Annotated[int, Field(ge=1)]
    phonemes: Count
    """Phonemes of the references."""
    a: Annotated[float, Field(ge=0)]
    """Error rate of A; above 1 where insertions abound."""
    interval_a: Interval
    """95 %, bootstrap over utterances."""
    b: Annotated[float, Field(ge=0)]
    """Error rate of B."""
    interval_b: Interval
    difference: float
    """b - a."""
    interval: Interval
    """Of the difference, paired bootstrap over utterances."""
    p: Share
    """Two-sided."""
    better: Count
    """Utterances with fewer errors in B."""
    worse: Count
    """Utterances with more errors in B."""
    same: Count
    """Utterances with the same number of errors."""


class SpeakerErrorRates(_Controlled, ErrorRates, _Speaker):
    """Errors on the utterances of one speaker."""


class _Measure(_Part):
    measure: Literal["per", "token_error_rate"]
    """per: errors over phonemes of the references; token_error_rate: tokens classified wrongly."""
    fold: str
    """The phoneme mapping before scoring."""


class SplitErrorRates(ErrorRates, _Measure):
    """Errors on all utterances."""

    identical: Count
    """Utterances with the same hypothesis in both runs."""
    by_speaker: Annotated[list[SpeakerErrorRates], Field(min_length=1)]
    """The same of each speaker, sorted by name."""


class ExpertPair(_Part):
    """Two matched experts."""

    a: str
    b: str
    load_a: Share
    """Mean weight of A's expert."""
    load_b: Share
    """Mean weight of B's expert."""
    shared: Share
    """Mean of the smaller of both weights in the same row."""
    common: Share
    """Shared weight over the weight of either, shared / (load_a + load_b - shared)."""
    correlation: Annotated[float, Field(ge=-1, le=1)]
    """Pearson's, of both weights over all rows; 0 of a constant."""


class UnmatchedExpert(_Part):
    """An expert without a partner."""

    expert: str
    load: Share
    """Mean weight; 0 of an unused expert."""


class Slot(_Part):
    """A matched pair, or an expert that only one run has."""

    a: str | None
    b: str | None

    @property
    def name(self) -> str:
        """``x`` for a pair of the same name, ``x / y`` for another, else the run that has it."""
        if self.a is None or self.b is None:
            return f"{self.b} (B only)" if self.a is None else f"{self.a} (A only)"
        return self.a if self.a == self.b else f"{self.a} / {self.b}"


class ExpertMatching(_Part):
    """The one-to-one assignment of experts with the greatest shared weight."""

    experts_a: ExpertNames
    """Names of A's experts, the rows of the tables."""
    experts_b: ExpertNames
    """Names of B's experts, their columns."""
    pairs: list[ExpertPair]
    """Matched experts, in the order of A's."""
    unmatched_a: list[UnmatchedExpert]
    """Experts of A without a partner: B has fewer, or they share no weight."""
    unmatched_b: list[UnmatchedExpert]
    """Experts of B without a partner."""
    shared: list[list[Share]]
    """Mean of the smaller of both weights in the same row, experts of A x experts of B."""
    first_experts: list[list[Count]]
    """Rows in which the one has the greatest weight in A and the other in B."""
    slots: Annotated[list[Slot], Field(min_length=1)]
    """The pairs, then the experts that only A or only B has; lists over slots run parallel."""


class AgreementMeasure(_Part):
    """One measure of agreement after matching."""

    measure: Literal["weight", "first_expert", "information"]
    """weight: mean weight that partners have in common in a row; first_expert: share of rows whose
    experts of greatest weight are partners; information: mutual information of these experts over
    the mean of their entropies, which needs no partners."""
    value: Share
    """Over all rows."""
    interval: Interval
    """95 %, bootstrap over utterances, partners kept."""
    chance: Share | None
    """Mean over rows beside another utterance, matched anew; null with one utterance."""
    corrected: Annotated[float, Field(le=1)] | None
    """(value - chance) / (1 - chance), as in Cohen's kappa; null where chance is 1."""
    p: Share | None
    """Share of the shuffles, the unshuffled among them, with as much agreement."""
    speaker_chance: Share | None
    """The same, shuffled within each speaker; null where none has two utterances."""
    speaker_corrected: Annotated[float, Field(le=1)] | None
    speaker_p: Share | None


class Agreement(_Part):
    """How far the routing agrees after matching, beside shuffled utterances."""

    shuffles: Annotated[int, Field(ge=1)]
    measures: Annotated[list[AgreementMeasure], Field(min_length=3, max_length=3)]


class _RoutingChange(_Speaker):
    utterances: Annotated[int, Field(ge=1)]
    rows: Count
    before: list[Share]
    """Mean weight of each slot in A."""
    after: list[Share]
    """Mean weight of each slot in B."""
    distance: Share
    """Total variation between the two: the weight that moves."""
    interval: Interval
    """95 %, bootstrap over the speaker's utterances."""
    p: Share
    """Exchanging the runs utterance by utterance moves as much."""


class SpeakerRouting(_Controlled, _RoutingChange):
    """Mean weights of one speaker in both runs."""


class ComparedUtterance(_Part):
    """An utterance in which the runs differ."""

    utterance: str
    speaker: str
    why: Literal["transcription", "routing"]
    """Which difference selected it."""
    transcription_distance: Share | None
    """Levenshtein distance of the hypotheses over the length of the longer."""
    routing_distance: Share | None
    """Weight that partners do not have in common, mean over the rows."""
    errors_a: Count | None
    errors_b: Count | None
    columns: list[tuple[str | None, str | None, str | None]] | None
    """Reference, hypothesis of A and hypothesis of B aligned; null where one has no phoneme."""
    first_a: list[Turn] | None
    """A's expert of greatest weight in time: slot and number of rows of each turn."""
    first_b: list[Turn] | None
    """B's expert of greatest weight in time."""


class ComparisonDocument(_Part):
    """What run B does differently from run A on the same utterances.

    Rates, weights and shares are parts of 1; docs/routing.md explains every number.
    """

    version: Literal[1]
    """Version of this format; grows when a key changes its meaning or goes away."""
    title: str
    """Heading of the comparison."""
    a: ComparedRun
    b: ComparedRun
    corpus: str
    """Corpus of the utterances."""
    split: Literal["train", "dev", "test"]
    task: Literal["classify", "recognize"]
    unit: Literal["frame", "token"]
    """What one row of the routing is."""
    frame_seconds: Annotated[float, Field(gt=0)] | None
    """Seconds from one row to the next, of the finer run; the other's weights are those at the
    centre of each row. null without routing."""
    num_utterances: Annotated[int, Field(ge=1)]
    """Utterances (or tokens) that both runs recognised."""
    num_rows: Annotated[int, Field(ge=1)] | None
    """Rows of the routing; null without."""
    missing: list[str]
    """What is left out of this comparison and why."""
    error_rate: SplitErrorRates | None
    """null where the phoneme sets differ."""
    matching: ExpertMatching | None
    """null without routing in both runs."""
    agreement: Agreement | None
    """null without routing in both runs."""
    routing_by_speaker: Annotated[list[SpeakerRouting], Field(min_length=1)] | None
    """Sorted by name; null without routing in both runs."""
    utterances: Annotated[list[ComparedUtterance], Field(max_length=20)]
    """The utterances that differ most, those by transcription first."""
    verdict: list[str]
    """The comparison in plain words, one sentence each, the most telling first."""
