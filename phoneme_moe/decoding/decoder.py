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
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.errors import InputError

DECODING_VERSION = 1

MAX_SHIFTS = 8
"""As many feature frames as may be one frame of posteriors."""


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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        model = self.language_model
        return {
            "version": DECODING_VERSION,
            "temperature": self.temperature,
            "weight": self.lm_weight,
            "bonus": self.insertion_bonus,
            "beam": self.beam,
            "least_risk": self.minimum_bayes_risk,
            "phases": self.num_shifts,
            "language_model": None if model is None else model.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any, where: str) -> Decoding:
        """Reads what ``to_json`` gave.

        Args:
            data: Plain data.
            where: The file, for messages.

        Raises:
            InputError: Names the key that does not hold.
        """
        if not isinstance(data, dict) or data.get("version") != DECODING_VERSION:
            found = data.get("version") if isinstance(data, dict) else data
            raise InputError(f"{where}: version: found {found!r}, expected {DECODING_VERSION}")
        numbers = {}
        for key, least in (("temperature", 1e-3), ("weight", 0.0), ("bonus", -100.0)):
            value: Any = data.get(key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and least <= value <= 100):
                raise InputError(f"{where}: {key}: found {value!r}, expected {least:g} to 100")
            numbers[key] = float(value)
        beam = data.get("beam")
        if beam is not None and not (type(beam) is int and beam >= 1):
            raise InputError(f"{where}: beam: found {beam!r}, expected null or 1 or more")
        minimum_bayes_risk = data.get("least_risk", False)
        if not isinstance(minimum_bayes_risk, bool):
            raise InputError(
                f"{where}: least_risk: found {minimum_bayes_risk!r}, expected true or false"
            )
        num_shifts = data.get("phases", 1)
        if not (type(num_shifts) is int and 1 <= num_shifts <= MAX_SHIFTS):
            raise InputError(f"{where}: phases: found {num_shifts!r}, expected 1 to {MAX_SHIFTS}")
        model = data.get("language_model")
        ngram = None if model is None else PhonemeNgram.from_json(model, where)
        return cls(
            language_model=ngram,
            beam=beam,
            minimum_bayes_risk=minimum_bayes_risk,
            num_shifts=num_shifts,
            temperature=numbers["temperature"],
            lm_weight=numbers["weight"],
            insertion_bonus=numbers["bonus"],
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
