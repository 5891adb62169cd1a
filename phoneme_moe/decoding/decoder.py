"""From posteriors to phonemes, and how sure one may be of them.

Legend: T frames, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.decoding.bayes_risk import average_nbest, sort_by_bayes_risk
from phoneme_moe.decoding.beam_search import Hypothesis, beam_search
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK


@dataclass(frozen=True)
class Segment:
    """A decoded phoneme.

    Attributes:
        phoneme: Its symbol.
        start: Where it begins, in seconds.
        end: Where it ends, in seconds; never past the end of the recording.
        confidence: Probability that it was said, 0..1.
        experts: Mean weight of each expert over its frames, by name; empty without experts.
    """

    phoneme: str
    start: float
    end: float
    confidence: float
    experts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoding:
    """How phonemes are read off posteriors; found on dev (``evaluation.calibrate``).

    Attributes:
        temperature: What scores are divided by before they count as confidence.
        language_model: N-gram of the run's training phonemes; None of old runs.
        lm_weight: Power of its probabilities in a beam search.
        insertion_bonus: Added to a reading's score for each phoneme.
        beam: Readings that a beam search keeps where nobody says; None of runs that are read by the
            best path.
        minimum_bayes_risk: A beam search gives the reading with the fewest errors to be expected,
        not the
            likeliest (``decoding.bayes_risk``).
        num_shifts: Hearings that such a search pools. Several feature frames are one frame of
            posteriors, which may begin at any of them: each hearing is delayed by one more.
    """

    temperature: float = 1.0
    language_model: PhonemeNgram | None = None
    lm_weight: float = 0.0
    insertion_bonus: float = 0.0
    beam: int | None = None
    minimum_bayes_risk: bool = False
    num_shifts: int = 1

    def beam_for(self, beam: int | None) -> int | None:
        """Readings that a beam search keeps; None is the best path.

        Args:
            beam: What the user wants: 0 is the best path, None leaves it to the run.
        """
        return (self.beam if beam is None else beam) or None

    def shifts_for(self, beam: int | None) -> int:
        """How often an utterance is heard, each time a feature frame later, to be read.

        Args:
            beam: As for ``beam_for``.
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
        """Readings of each utterance by beam search, best first.

        With ``minimum_bayes_risk`` the best is the one with the fewest errors to be expected.

        Args:
            log_posteriors: Natural logarithms, shape (batch, frames, outputs).
            num_frames: Real frames of each utterance, shape (batch,).
            beam: Prefixes that are kept from frame to frame, 1 or more.
            nbest: Most readings of an utterance.
            shifted: Posteriors and frames of further hearings of the same utterances, which
                ``minimum_bayes_risk`` pools (``num_shifts``).
        """
        heard = [(log_posteriors, num_frames), *(shifted if self.minimum_bayes_risk else ())]
        found = [
            beam_search(
                posteriors,
                frames,
                beam,
                self.language_model,
                self.lm_weight,
                self.insertion_bonus,
                beam if self.minimum_bayes_risk else nbest,
            )
            for posteriors, frames in heard
        ]
        if not self.minimum_bayes_risk:
            return found[0]
        of_utterances = (
            found[0] if len(found) == 1 else map(average_nbest, zip(*found, strict=True))
        )
        return [sort_by_bayes_risk(own)[:nbest] for own in of_utterances]

    def to_document(self) -> DecodingDocument:
        """The settings as data, for ``decoding.json``."""
        ngram = self.language_model
        return DecodingDocument(
            version=1,
            temperature=self.temperature,
            weight=self.lm_weight,
            bonus=self.insertion_bonus,
            beam=self.beam,
            minimum_bayes_risk=self.minimum_bayes_risk,
            num_shifts=self.num_shifts,
            language_model=None if ngram is None else ngram.to_document(),
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        return self.to_document().model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Any, where: str) -> Decoding:
        """Checks and converts the content of ``decoding.json``.

        Args:
            data: As ``to_json`` gives it; the former keys ``least_risk`` and ``phases`` are read.
            where: The file, for messages.

        Raises:
            InputError: Names the first wrong key.
        """
        document = DecodingDocument.parse(data, where)
        ngram = None
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
        )


def greedy_decode(log_posteriors: NDArray[np.float32]) -> tuple[list[int], NDArray[np.int64]]:
    """The likeliest output of each frame, runs joined, blanks out (Graves et al. 2006, sec. 3.2).

    Args:
        log_posteriors: Shape (frames, outputs).

    Returns:
        The outputs in order, and the first frame of each and the one after its last, shape
        (phonemes, 2).
    """
    best = log_posteriors.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    spoken = best[spans[:, 0]] != BLANK
    return best[spans[spoken, 0]].tolist(), spans[spoken]


def confidences(
    log_posteriors: NDArray[np.float32],
    outputs: list[int],
    spans: NDArray[np.int64],
    temperature: float,
) -> NDArray[np.float32]:
    """Probability of each phoneme: the mean over the frames in which it is emitted, 0..1.

    Args:
        log_posteriors: Shape (frames, outputs).
        outputs: The phonemes.
        spans: Their frames, shape (phonemes, 2).
        temperature: Above 1 makes less sure (Guo et al. 2017).
    """
    scaled = log_posteriors / temperature
    top = scaled.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0]
    found = np.empty(len(outputs), np.float32)
    for number, (output, (first, last)) in enumerate(zip(outputs, spans.tolist(), strict=True)):
        found[number] = np.exp(scaled[first:last, output] - log_sum[first:last]).mean()
    return np.minimum(found, 1.0)
