"""What routing is worth in errors: without each expert, and with every expert asked alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import (
    PairedDifference,
    UtteranceScore,
    paired_difference,
    total_score,
)
from phoneme_moe.errors import InputError
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.removal import Removal, recognize_otherwise, remove_each, sample


@dataclass(frozen=True)
class Contribution:
    """Errors as they are and as they would be.

    Attributes:
        base_error_rate: Of the whole split, a fraction.
        removal: Without each expert; None where that cannot be asked.
        uniform: The change when every expert has the same weight in every row; None likewise.
        num_utterances: In the sample on which the two were measured.
        refusal: Why they could not be asked.
    """

    base_error_rate: float
    removal: tuple[Removal, ...] | None
    uniform: PairedDifference | None
    num_utterances: int
    refusal: str | None = None

    def to_json(self, speakers: Sequence[str], credit: list[list[float]] | None) -> dict[str, Any]:
        """Plain data, the speakers in the order of the report."""
        uniform = self.uniform
        return {
            "credit": credit,
            "base_error_rate": self.base_error_rate,
            "removal": (
                None if self.removal is None else [own.to_json(speakers) for own in self.removal]
            ),
            "uniform": (
                None
                if uniform is None
                else {
                    "change": uniform.difference,
                    "interval": list(uniform.interval),
                    "p": uniform.p,
                }
            ),
            "removal_utterances": self.num_utterances,
        }


def contribution_of(
    recognizer: Recognizer,
    examples: Sequence[Example],
    scores: Mapping[str, UtteranceScore],
    layer: str | None,
) -> Contribution:
    """Recognises a sample without each expert, and once with all of them asked alike.

    Args:
        recognizer: In evaluation mode.
        examples: Of a split.
        scores: Errors of each utterance as the run is.
        layer: The sparse layer that is meant.
    """
    layer, experts = recognizer.routed_layer(layer)
    base = total_score(list(scores.values())).error_rate
    if len(experts) < 2:
        return Contribution(base, None, None, 0, "there is one expert")
    if recognizer.gate_is_speaker:
        return Contribution(base, None, None, 0, "the gate is who speaks")
    chosen = sample(examples, len(experts) + 1)
    try:
        removal = remove_each(recognizer, chosen, scores, layer)
        alike = RoutingOverride(len(experts), layer, shares=(1 / len(experts),) * len(experts))
        after = recognize_otherwise(recognizer, chosen, alike)
    except InputError as error:
        return Contribution(base, None, None, 0, str(error))
    names = [example.utterance for example in chosen]
    return Contribution(
        base,
        tuple(removal),
        paired_difference([scores[name] for name in names], [after[name] for name in names]),
        len(chosen),
    )
