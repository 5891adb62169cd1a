"""The content of ``comparison.json``, from which page and terminal output are made.

docs/schemas/comparison.schema.json is generated from these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from phoneme_moe.files.documents import Document

Share = Annotated[float, Field(ge=0, le=1.000001)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[float, float]
ExpertNames = Annotated[list[str], Field(min_length=2)]
Turn = tuple[Count, Annotated[int, Field(ge=1)]]


class _Part(Document):
    # Not strict, since pairs are lists in JSON.
    model_config = ConfigDict(strict=False)


class ComparedRun(_Part):
    """One of the two runs."""

    name: str
    """Name of the folder, with parents if both have the same name."""
    folder: str
    recipe: str
    layer: str | None
    """The sparse layer whose routing is compared; null for a gate."""
    experts: ExpertNames | None
    """Names of the experts; null if the run has no routing."""


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
    """Number of reference phonemes."""
    a: Annotated[float, Field(ge=0)]
    """Error rate of A; may exceed 1 because of insertions."""
    interval_a: Interval
    """95 % interval, bootstrap over utterances."""
    b: Annotated[float, Field(ge=0)]
    """Error rate of B."""
    interval_b: Interval
    difference: float
    """b - a."""
    interval: Interval
    """p value of the difference, paired bootstrap over utterances."""
    p: Share
    """Two-sided."""
    better: Count
    """Number of utterances with fewer errors in B."""
    worse: Count
    """Number of utterances with more errors in B."""
    same: Count
    """Number of utterances with the same number of errors."""


class SpeakerErrorRates(_Controlled, ErrorRates, _Speaker):
    """Errors on the utterances of one speaker."""


class CorpusErrorRates(ErrorRates):
    """Errors on the utterances of one of several corpora."""

    corpus: str
    """Name of the corpus."""


class _Measure(_Part):
    measure: Literal["per", "token_error_rate"]
    """per: errors over reference phonemes; token_error_rate: share of misclassified tokens."""
    fold: str
    """The phoneme mapping before scoring."""


class SplitErrorRates(ErrorRates, _Measure):
    """Errors on all utterances."""

    identical: Count
    """Number of utterances with the same hypothesis in both runs."""
    by_speaker: Annotated[list[SpeakerErrorRates], Field(min_length=1)]
    """Error rates of each speaker, sorted by name."""
    by_corpus: list[CorpusErrorRates] = Field(default_factory=list)
    """Error rates on each of several corpora; empty for one."""


class ExpertPair(_Part):
    """Two matched experts."""

    a: str
    b: str
    load_a: Share
    """Mean weight of A's expert."""
    load_b: Share
    """Mean weight of B's expert."""
    shared: Share
    """Shared weight: mean over rows of the smaller of the two weights."""
    common: Share
    """Intersection over union of the weights, shared / (load_a + load_b - shared)."""
    correlation: Annotated[float, Field(ge=-1, le=1)]
    """Pearson correlation of the two weights over all rows; 0 if one is constant."""


class UnmatchedExpert(_Part):
    """An expert without a partner."""

    expert: str
    load: Share
    """Mean weight; 0 for an unused expert."""


class Slot(_Part):
    """A matched pair, or an expert that only one run has."""

    a: str | None
    b: str | None

    @property
    def name(self) -> str:
        """``x`` for a pair of the same name, otherwise ``x / y``, or ``x (A only)``."""
        if self.a is None or self.b is None:
            return f"{self.b} (B only)" if self.a is None else f"{self.a} (A only)"
        return self.a if self.a == self.b else f"{self.a} / {self.b}"


class ExpertMatching(_Part):
    """The one-to-one assignment of experts that maximises the shared weight."""

    experts_a: ExpertNames
    """Names of A's experts, the rows of the tables."""
    experts_b: ExpertNames
    """Names of B's experts, the columns of the tables."""
    pairs: list[ExpertPair]
    """Matched experts, in the order of A's."""
    unmatched_a: list[UnmatchedExpert]
    """Experts of A without a partner, because B has fewer or they share no weight."""
    unmatched_b: list[UnmatchedExpert]
    """Experts of B without a partner."""
    shared: list[list[Share]]
    """Mean over rows of the smaller of the two weights, experts of A x experts of B."""
    first_experts: list[list[Count]]
    """Number of rows in which a pair has the greatest weight in A and in B."""
    slots: Annotated[list[Slot], Field(min_length=1)]
    """The pairs, then the unmatched experts of A and of B; indices into this list are slots."""


class AgreementMeasure(_Part):
    """One measure of agreement after matching."""

    measure: Literal["weight", "first_expert", "information"]
    """weight: mean weight per row that matched experts share; first_expert: share of rows whose
    experts with the greatest weight are matched; information: mutual information of these experts
    divided by the mean of their entropies, which needs no matching."""
    value: Share
    """Value over all rows."""
    interval: Interval
    """95 % interval, bootstrap over utterances with fixed matching."""
    chance: Share | None
    """Mean over shuffled utterances, matched again; null with one utterance."""
    corrected: Annotated[float, Field(le=1)] | None
    """(value - chance) / (1 - chance), as in Cohen's kappa; null if chance is 1."""
    p: Share | None
    """Share of the shuffles, including the observed order, with at least as much agreement."""
    speaker_chance: Share | None
    """Chance when shuffling within speakers; null if no speaker has two utterances."""
    speaker_corrected: Annotated[float, Field(le=1)] | None
    speaker_p: Share | None


class Agreement(_Part):
    """Agreement of the routing after matching, compared with shuffled utterances."""

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
    """Total variation distance between the two."""
    interval: Interval
    """95 % interval, bootstrap over the speaker's utterances."""
    p: Share
    """p value of the distance, exchanging the runs utterance by utterance."""


class SpeakerRouting(_Controlled, _RoutingChange):
    """Mean weights of one speaker in both runs."""


class ComparedUtterance(_Part):
    """An utterance in which the runs differ."""

    utterance: str
    speaker: str
    why: Literal["transcription", "routing"]
    """The difference by which it was selected."""
    transcription_distance: Share | None
    """Levenshtein distance of the hypotheses divided by the longer length."""
    routing_distance: Share | None
    """Weight that matched experts do not share, mean over rows."""
    errors_a: Count | None
    errors_b: Count | None
    columns: list[tuple[str | None, str | None, str | None]] | None
    """Aligned reference, hypothesis of A and hypothesis of B; null for a gap."""
    first_a: list[Turn] | None
    """A's expert with the greatest weight over time: runs of slot and number of rows."""
    first_b: list[Turn] | None
    """B's expert with the greatest weight over time."""


class ComparisonDocument(_Part):
    """Differences of run B from run A on the same utterances.

    Rates, weights and shares are fractions of 1; docs/routing.md explains every number.
    """

    version: Literal[1]
    """Version of this format; increases when a key changes its meaning or is removed."""
    title: str
    """Heading of the comparison."""
    a: ComparedRun
    b: ComparedRun
    corpus: str
    """Corpus of the utterances."""
    split: Literal["train", "dev", "test"]
    task: Literal["classify", "recognize"]
    unit: Literal["frame", "token"]
    """Kind of row of the routing: frame or token."""
    frame_seconds: Annotated[float, Field(gt=0)] | None
    """Seconds from one row to the next in the run with finer rows; the other's weights are taken
    at the centre of each row. null without routing."""
    num_utterances: Annotated[int, Field(ge=1)]
    """Number of utterances (or tokens) that both runs recognised."""
    num_rows: Annotated[int, Field(ge=1)] | None
    """Number of rows of the routing; null without routing."""
    missing: list[str]
    """What this comparison lacks, and why."""
    error_rate: SplitErrorRates | None
    """Error rates; null if the phoneme sets differ."""
    matching: ExpertMatching | None
    """null without routing in both runs."""
    agreement: Agreement | None
    """null without routing in both runs."""
    routing_by_speaker: Annotated[list[SpeakerRouting], Field(min_length=1)] | None
    """Sorted by name; null without routing in both runs."""
    utterances: Annotated[list[ComparedUtterance], Field(max_length=20)]
    """The utterances that differ most, those selected by transcription first."""
    verdict: list[str]
    """Findings as sentences, the most important first."""
