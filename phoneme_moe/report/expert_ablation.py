"""Ablation: the error rate without each expert, and with uniform weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import (
    BOOTSTRAP_DRAWS,
    UtteranceScore,
    exact_difference,
    paired_difference,
    score_utterance,
    total_score,
)
from phoneme_moe.errors import InputError
from phoneme_moe.inference import recognize_split
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.document_parts import Removal, Uniform

FRAMES = 1_500_000
"""Limit of feature frames over all ablations together: four hours of speech."""

Scores = Mapping[str, UtteranceScore]
"""Errors of each utterance by identifier."""


@dataclass(frozen=True)
class Ablation:
    """The error rate without one expert.

    Attributes:
        expert: Index of the expert.
        error_rate: Error rate without it, a fraction.
        change: Change from the error rate with it, on the same utterances.
        interval: 95 % interval of the change, paired bootstrap over utterances.
        by_speaker: Change of each speaker's error rate, for speakers with utterances in the sample.
    """

    expert: int
    error_rate: float
    change: float
    interval: tuple[float, float]
    by_speaker: Mapping[str, float]


@dataclass(frozen=True)
class Ablations:
    """Error rates with the experts and without them.

    Attributes:
        base_error_rate: Error rate on the whole split without ablation, a fraction.
        experts: Ablation of each expert; None if it cannot be measured.
        uniform: Change when every expert has the same weight in every row; None likewise.
        num_utterances: Number of utterances in the sample on which these were measured.
        refusal: Reason why they could not be measured.
    """

    base_error_rate: float
    experts: tuple[Ablation, ...] | None = None
    uniform: Uniform | None = None
    num_utterances: int = 0
    refusal: str | None = None

    def removal_of(self, speakers: Sequence[str]) -> list[Removal] | None:
        """Converts the ablations for the document, with speakers in this order."""
        if self.experts is None:
            return None
        return [
            Removal(
                expert=ablation.expert,
                error_rate=ablation.error_rate,
                change=ablation.change,
                interval=ablation.interval,
                by_speaker=[ablation.by_speaker.get(speaker) for speaker in speakers],
            )
            for ablation in self.experts
        ]


def ablate_experts(
    recognizer: Recognizer,
    examples: Sequence[Example],
    scores: Scores,
    layer: str | None,
) -> Ablations:
    """Recognises a sample without each expert, and once with uniform weights.

    Args:
        recognizer: The model in evaluation mode.
        examples: Examples of a split.
        scores: Errors of each utterance with the run's routing.
        layer: The sparse layer whose experts are ablated; by default the last one.
    """
    layer, experts = recognizer.routed_layer(layer)
    base = total_score(list(scores.values())).error_rate
    if len(experts) < 2:
        return Ablations(base, refusal="there is one expert")
    if recognizer.gate_is_speaker:
        return Ablations(base, refusal="the gate takes the speaker's identity")
    chosen = sample(examples, len(experts) + 1)
    try:
        ablations = _each_ablation(recognizer, chosen, scores, layer)
        shares = (1 / len(experts),) * len(experts)
        uniform = _scores_with(
            recognizer, chosen, RoutingOverride(len(experts), layer, shares=shares)
        )
    except InputError as error:
        return Ablations(base, refusal=str(error))
    names = [example.utterance for example in chosen]
    difference = paired_difference(
        [scores[name] for name in names], [uniform[name] for name in names]
    )
    return Ablations(
        base,
        tuple(ablations),
        Uniform(change=difference.difference, interval=difference.interval, p=difference.p),
        len(chosen),
    )


def sample(examples: Sequence[Example], num_passes: int, frames: int = FRAMES) -> list[Example]:
    """Samples examples so that all passes over them stay within a number of frames.

    Returns all examples if they fit; otherwise an evenly spaced subset of each speaker's
    utterances, at least one per speaker.

    Args:
        examples: Examples of a split.
        num_passes: Number of times that each is recognised.
        frames: Limit of feature frames over all passes.
    """
    total = num_passes * sum(len(example.features) for example in examples)
    step = max(1, -(-total // frames))
    taken: Counter[str] = Counter()
    chosen = []
    for example in sorted(examples, key=lambda example: example.utterance):
        if taken[example.speaker] % step == 0:
            chosen.append(example)
        taken[example.speaker] += 1
    return chosen


def _each_ablation(
    recognizer: Recognizer, examples: Sequence[Example], scores: Scores, layer: str | None
) -> list[Ablation]:
    """Recognises the examples without each expert in turn, renormalising the weights."""
    layer, experts = recognizer.routed_layer(layer)
    names = [example.utterance for example in examples]
    speakers = np.array([example.speaker for example in examples])
    phonemes = np.array([scores[name].num_reference for name in names])
    errors = np.array([scores[name].errors for name in names])
    added = np.empty((len(names), len(experts)), dtype=np.int64)  # errors
    for expert in range(len(experts)):
        without = _scores_with(
            recognizer, examples, RoutingOverride(len(experts), layer, without=(expert,))
        )
        added[:, expert] = [without[name].errors for name in names] - errors
    intervals = _intervals(added, phonemes)
    rows = {str(speaker): speakers == speaker for speaker in np.unique(speakers)}
    total = max(phonemes.sum(), 1)
    return [
        Ablation(
            expert,
            float((errors.sum() + added[:, expert].sum()) / total),
            float(added[:, expert].sum() / total),
            intervals[expert],
            {
                speaker: float(added[mask, expert].sum() / max(phonemes[mask].sum(), 1))
                for speaker, mask in rows.items()
            },
        )
        for expert in range(len(experts))
    ]


def _intervals(added: NDArray[np.int64], phonemes: NDArray[np.int64]) -> list[tuple[float, float]]:
    """95 % interval of the change without each expert, with the same bootstrap draws."""
    generator = np.random.default_rng(0)
    equal = np.full(len(added), 1 / len(added))
    counts = generator.multinomial(len(added), equal, size=BOOTSTRAP_DRAWS)
    rates = (counts @ added) / np.maximum(counts @ phonemes, 1)[:, None]
    low, high = np.quantile(rates, [0.025, 0.975], axis=0)
    return [
        exact_difference(added[:, expert], phonemes)
        if low[expert] == high[expert]
        else (float(low[expert]), float(high[expert]))
        for expert in range(added.shape[1])
    ]


def _scores_with(
    recognizer: Recognizer, examples: Sequence[Example], override: RoutingOverride
) -> dict[str, UtteranceScore]:
    """Errors of each utterance by identifier, with a routing override."""
    return {
        recognized.example.utterance: score_utterance(
            recognized.example.phonemes, recognized.hypothesis
        )
        for recognized in recognize_split(recognizer, examples, override=override)
    }
