"""Decoding settings of a run, greedy decoding and confidence scores.

Legend: T frames, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.bayes_risk import average_nbest, sort_by_bayes_risk
from phoneme_moe.decoding.beam_search import Hypothesis, beam_search
from phoneme_moe.decoding.document import BestSearchDocument, DecodingDocument, GoodnessDocument
from phoneme_moe.decoding.goodness import GoodnessCalibration
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK


@dataclass(frozen=True)
class Segment:
    """A decoded phoneme.

    Attributes:
        phoneme: The phoneme symbol.
        start: Start in seconds.
        end: End in seconds, at most the end of the recording.
        confidence: Probability that the phoneme is correct, 0..1.
        experts: Mean weight of each expert in the segment, by name; empty without experts.
    """

    phoneme: str
    start: float
    end: float
    confidence: float
    experts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestSearch:
    """Settings of a slow search with fewer errors; attributes as in ``Decoding``."""

    beam: int
    minimum_bayes_risk: bool = False
    num_shifts: int = 1


@dataclass(frozen=True)
class Decoding:
    """Decoding settings, tuned on dev (``evaluation.calibrate``).

    Attributes:
        temperature: Divisor of log posteriors for confidence scores (Guo et al. 2017).
        language_model: N-gram of the run's training phonemes; None for old runs and for tokens.
        lm_weight: Factor on the log probabilities of the n-gram in beam search.
        insertion_bonus: Added to the score of a hypothesis for each phoneme.
        beam: Default beam width; None for greedy decoding.
        minimum_bayes_risk: Whether beam search returns the hypothesis with the smallest expected
            edit distance instead of the most probable one (``decoding.bayes_risk``).
        num_shifts: Number of passes over the input whose n-best lists are averaged for minimum
            Bayes risk (test-time augmentation); each pass shifts the input by one more feature
            frame.
        best: A slower search with fewer errors than the default; None if there is none.
        goodness: Calibration of the goodness of pronunciation; None for old runs and for tokens.
    """

    temperature: float = 1.0
    language_model: PhonemeNgram | None = None
    lm_weight: float = 0.0
    insertion_bonus: float = 0.0
    beam: int | None = None
    minimum_bayes_risk: bool = False
    num_shifts: int = 1
    best: BestSearch | None = None
    goodness: GoodnessCalibration | None = None

    def with_best(self) -> Decoding:
        """The settings whose default is the search with the fewest errors, however slow."""
        if self.best is None:
            return self
        return replace(self, **asdict(self.best), best=None)

    def beam_for(self, beam: int | None) -> int | None:
        """Returns the beam width to use; None for greedy decoding.

        Args:
            beam: Requested beam width: 0 for greedy decoding, None for the default.
        """
        return (self.beam if beam is None else beam) or None

    def shifts_for(self, beam: int | None) -> int:
        """Returns the number of passes over the input that decoding needs.

        Args:
            beam: As in ``beam_for``.
        """
        return self.num_shifts if self.minimum_bayes_risk and self.beam_for(beam) is not None else 1

    def search(
        self,
        log_posteriors: NDArray[np.float32],
        num_frames: NDArray[np.int64],
        beam: int,
        nbest: int = 1,
        shifted: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]] = (),
    ) -> list[list[Hypothesis]]:
        """Finds the n-best hypotheses of each utterance by beam search, best first.

        With ``minimum_bayes_risk`` they are sorted by expected edit distance.

        Args:
            log_posteriors: Log posteriors, shape (batch, frames, outputs).
            num_frames: Real frames of each utterance, shape (batch,).
            beam: Beam width, 1 or more.
            nbest: Maximum number of hypotheses of an utterance.
            shifted: Posteriors and numbers of frames of the shifted passes (``num_shifts``), whose
                n-best lists ``minimum_bayes_risk`` averages.
        """
        passes = [(log_posteriors, num_frames), *(shifted if self.minimum_bayes_risk else ())]
        nbest_lists = [
            beam_search(
                posteriors,
                frames,
                beam,
                self.language_model,
                self.lm_weight,
                self.insertion_bonus,
                beam if self.minimum_bayes_risk else nbest,
            )
            for posteriors, frames in passes
        ]
        if not self.minimum_bayes_risk:
            return nbest_lists[0]
        if len(nbest_lists) == 1:
            return [sort_by_bayes_risk(hypotheses)[:nbest] for hypotheses in nbest_lists[0]]
        averaged = map(average_nbest, zip(*nbest_lists, strict=True))
        return [sort_by_bayes_risk(hypotheses)[:nbest] for hypotheses in averaged]

    def to_document(self) -> DecodingDocument:
        """Converts the settings to the content of ``decoding.json``."""
        ngram, goodness = self.language_model, self.goodness
        return DecodingDocument(
            version=1,
            temperature=self.temperature,
            weight=self.lm_weight,
            bonus=self.insertion_bonus,
            beam=self.beam,
            minimum_bayes_risk=self.minimum_bayes_risk,
            num_shifts=self.num_shifts,
            best=None if self.best is None else BestSearchDocument(**asdict(self.best)),
            goodness=None if goodness is None else GoodnessDocument(**asdict(goodness)),
            language_model=None if ngram is None else ngram.to_document(),
        )

    @classmethod
    def from_document(cls, document: DecodingDocument, where: str) -> Decoding:
        """Converts the content of ``decoding.json``.

        Args:
            document: The content.
            where: The file, for error messages.

        Raises:
            InputError: The n-gram is not valid.
        """
        ngram, goodness = None, document.goodness
        if document.language_model is not None:
            where = f"{where}: language_model"
            ngram = PhonemeNgram.from_document(document.language_model, where)
        return cls(
            temperature=document.temperature,
            language_model=ngram,
            lm_weight=document.weight,
            insertion_bonus=document.bonus,
            beam=document.beam,
            minimum_bayes_risk=document.minimum_bayes_risk,
            num_shifts=document.num_shifts,
            best=None if document.best is None else BestSearch(**document.best.model_dump()),
            goodness=None if goodness is None else GoodnessCalibration(**goodness.model_dump()),
        )


def greedy_decode(log_posteriors: NDArray[np.float32]) -> tuple[list[int], NDArray[np.int64]]:
    """Best-path decoding: repetitions merged, blanks removed (Graves et al. 2006, section 3.2).

    Args:
        log_posteriors: Log posteriors, shape (frames, outputs).

    Returns:
        The phonemes as output indices, and their frame spans (first frame, end), shape (phonemes,
        2).
    """
    best = log_posteriors.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    emitted = best[spans[:, 0]] != BLANK
    return best[spans[emitted, 0]].tolist(), spans[emitted]


def confidences(
    log_posteriors: NDArray[np.float32],
    outputs: list[int],
    spans: NDArray[np.int64],
    temperature: float,
) -> NDArray[np.float32]:
    """Confidence of each phoneme: its mean posterior over the frames that emit it, 0..1.

    Args:
        log_posteriors: Log posteriors, shape (frames, outputs).
        outputs: The phonemes as output indices.
        spans: Frame spans of the phonemes, shape (phonemes, 2).
        temperature: Values above 1 lower the confidence (Guo et al. 2017).
    """
    scaled = log_posteriors / temperature
    top = scaled.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
    means = np.empty(len(outputs), np.float32)
    for number, (output, (first, last)) in enumerate(zip(outputs, spans.tolist(), strict=True)):
        means[number] = np.exp(scaled[first:last, output] - log_sum[first:last]).mean()
    return np.minimum(means, 1.0)
