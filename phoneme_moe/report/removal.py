"""What each expert is worth: the error rate when nobody may ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import BOOTSTRAP_DRAWS, UtteranceScore, score_utterance
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.recognizer import Recognizer

FRAMES = 1_500_000
"""Feature frames of all recognitions without an expert together: four hours of speech."""


@dataclass(frozen=True)
class Removal:
    """The error without one expert.

    Attributes:
        expert: Its index.
        error_rate: Without it, a fraction.
        change: From the error rate with it, on the same utterances.
        interval: 95 % interval of the change, paired bootstrap over utterances.
        by_speaker: The change of each speaker's error rate; speakers without an utterance in the
            sample are left out.
    """

    expert: int
    error_rate: float
    change: float
    interval: tuple[float, float]
    by_speaker: Mapping[str, float]

    def to_json(self, speakers: Sequence[str]) -> dict[str, Any]:
        """Plain data, the speakers in the order of the report."""
        return {
            "expert": self.expert,
            "error_rate": self.error_rate,
            "change": self.change,
            "interval": list(self.interval),
            "by_speaker": [self.by_speaker.get(speaker) for speaker in speakers],
        }


def sample(examples: Sequence[Example], num_experts: int, frames: int = FRAMES) -> list[Example]:
    """So many examples that recognising them once for each expert stays within the frames.

    Every so many-th utterance of each speaker, at least one; all of them where they fit.

    Args:
        examples: Of a split.
        num_experts: How often each is recognised.
        frames: Feature frames in all.
    """
    total = num_experts * sum(len(example.features) for example in examples)
    step = max(1, -(-total // frames))
    seen: dict[str, int] = {}
    chosen = []
    for example in sorted(examples, key=lambda example: example.utterance):
        rank = seen.get(example.speaker, 0)
        seen[example.speaker] = rank + 1
        if rank % step == 0:
            chosen.append(example)
    return chosen


def remove_each(
    recognizer: Recognizer,
    examples: Sequence[Example],
    scores: Mapping[str, UtteranceScore],
    layer: str | None = None,
) -> list[Removal]:
    """Recognises the examples without each expert in turn.

    Those that are left share what the expert would have been given.

    Args:
        recognizer: In evaluation mode, with two experts or more and a gate or routers.
        examples: A sample of a split.
        scores: Errors of each utterance with all experts.
        layer: The sparse layer whose experts are removed.
    """
    layer, experts = recognizer.routed_layer(layer)
    names = [example.utterance for example in examples]
    speakers = np.array([example.speaker for example in examples])
    said = np.array([scores[name].num_reference for name in names])
    errors = np.array([scores[name].errors for name in names])
    more = np.empty((len(names), len(experts)), dtype=np.int64)  # errors, without each
    for expert in range(len(experts)):
        without = RoutingOverride(len(experts), layer, without=(expert,))
        found = recognize_otherwise(recognizer, examples, without)
        more[:, expert] = [found[name].errors for name in names] - errors
    intervals = _intervals(more, said)
    own = {str(speaker): speakers == speaker for speaker in np.unique(speakers)}
    phonemes = max(said.sum(), 1)
    return [
        Removal(
            expert,
            float((errors.sum() + more[:, expert].sum()) / phonemes),
            float(more[:, expert].sum() / phonemes),
            intervals[expert],
            {
                speaker: float(more[rows, expert].sum() / max(said[rows].sum(), 1))
                for speaker, rows in own.items()
            },
        )
        for expert in range(len(experts))
    ]


def _intervals(more: NDArray[np.int64], phonemes: NDArray[np.int64]) -> list[tuple[float, float]]:
    """95 % of the change without each expert, all from the same draws of utterances."""
    generator = np.random.default_rng(0)
    equal = np.full(len(more), 1 / len(more))
    counts = generator.multinomial(len(more), equal, size=BOOTSTRAP_DRAWS)
    rates = (counts @ more) / np.maximum(counts @ phonemes, 1)[:, None]
    low, high = np.quantile(rates, [0.025, 0.975], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def recognize_otherwise(
    recognizer: Recognizer, examples: Sequence[Example], override: RoutingOverride
) -> dict[str, UtteranceScore]:
    """Errors of each utterance, by identifier, with other experts than the model would ask."""
    found: dict[str, UtteranceScore] = {}
    num_shifts = recognizer.decoding.shifts_for(None)
    for batch, said in recognize_examples(
        recognizer, examples, override=override, num_shifts=num_shifts
    ):
        heard = decode_phonemes(recognizer, said)
        for example, hypothesis in zip(batch.examples, heard, strict=True):
            found[example.utterance] = score_utterance(example.phonemes, hypothesis)
    return found
