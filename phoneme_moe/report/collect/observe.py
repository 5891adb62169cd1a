"""The routing, the hypothesis and the spoken phonemes of every utterance of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import UtteranceScore, score_utterance
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.collect.frame_phonemes import judged_rows, phoneme_rows
from phoneme_moe.report.collect.table import RoutingTable, UtteranceRouting


@dataclass(frozen=True, eq=False)
class Observation:
    """One utterance as the model processed it.

    Attributes:
        example: The utterance.
        routing: Routing of the gate, or of the requested sparse layer.
        layers: Weights of every sparse layer, each of shape (rows, experts); empty if none.
        hypothesis: The recognised phonemes.
        score: Errors of the hypothesis.
        spoken: Index of the reference phoneme spoken in each row, shape (rows,); -1 for none
            (``report.collect.frame_phonemes``).
    """

    example: Example
    routing: UtteranceRouting
    layers: Mapping[str, NDArray[np.float32]]
    hypothesis: tuple[str, ...]
    score: UtteranceScore
    spoken: NDArray[np.int64]


def phoneme_names(recognizer: Recognizer, examples: Sequence[Example]) -> tuple[str, ...]:
    """The model's phonemes, followed by other phonemes of the examples."""
    spoken = {phoneme for example in examples for phoneme in example.phonemes}
    known = recognizer.phonemes.symbols
    return (*known, *sorted(spoken - set(known)))


def observe(
    recognizer: Recognizer, examples: Sequence[Example], layer: str | None = None
) -> Iterator[Observation]:
    """Observes the routing of every frame (or token), utterance by utterance.

    The phoneme of a frame is the one at its centre if the corpus has times; otherwise that of the
    model's forced alignment of the reference.

    Args:
        recognizer: The model in evaluation mode.
        examples: Examples, at least one; observations are in order of length.
        layer: A sparse layer of an encoder; by default the last one.

    Raises:
        InputError: There is no such layer.
    """
    layer, _ = recognizer.routed_layer(layer)
    names = phoneme_names(recognizer, examples)
    index = {phoneme: number for number, phoneme in enumerate(names)}
    outputs = _outputs(recognizer, names)
    sparse = recognizer.encoder.sparse_layers if recognizer.encoder else ()
    layers: list[str | None] = [one.name for one in sparse] or [layer]
    for recognized in recognize_split(recognizer, examples, layers=layers):
        example, log_posteriors = recognized.example, recognized.log_posteriors.cpu()
        weights = {name: _normalized(array) for name, array in recognized.weights.items()}
        spoken = phoneme_rows(recognizer, example, log_posteriors)
        reference = np.array([*(index[p] for p in example.phonemes), -1], dtype=np.int64)
        phoneme = reference[spoken]
        targets = outputs[phoneme]
        judged, right = judged_rows(recognizer, example, log_posteriors)
        by_expert = recognized.expert_log_posteriors
        routing = UtteranceRouting(
            utterance=example.utterance,
            speaker=example.speaker,
            frame_seconds=recognizer.frame_seconds,
            weights=weights[layer],
            phoneme=phoneme,
            edge=_edges(spoken),
            judged=judged,
            right=right,
            credit=None
            if by_expert is None
            else _credit(weights[layer], by_expert.cpu().numpy(), targets),
            hypothesis=_hypothesis(log_posteriors, outputs),
        )
        yield Observation(
            example,
            routing,
            {name: array for name, array in weights.items() if name is not None},
            tuple(recognized.hypothesis),
            score_utterance(example.phonemes, recognized.hypothesis),
            spoken,
        )


def collect_routing(
    recognizer: Recognizer, examples: Sequence[Example], layer: str | None = None
) -> RoutingTable:
    """Collects the routing of a split as one table in memory.

    Args:
        recognizer: The model in evaluation mode.
        examples: Examples, at least one.
        layer: A sparse layer of an encoder; by default the last one.

    Raises:
        InputError: There is no such layer.
    """
    layer, experts = recognizer.routed_layer(layer)
    speakers = tuple(sorted({example.speaker for example in examples}))
    utterances = [one.routing for one in observe(recognizer, examples, layer)]
    lengths = [len(one.weights) for one in utterances]
    return RoutingTable(
        experts=experts,
        speakers=speakers,
        phonemes=phoneme_names(recognizer, examples),
        utterances=tuple(one.utterance for one in utterances),
        weights=np.concatenate([one.weights for one in utterances]),
        speaker=np.repeat([speakers.index(one.speaker) for one in utterances], lengths),
        phoneme=np.concatenate([one.phoneme for one in utterances]),
        utterance=np.repeat(np.arange(len(utterances)), lengths),
    )


def _normalized(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights normalised to sum to 1 in float32."""
    shares: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _outputs(recognizer: Recognizer, names: Sequence[str]) -> NDArray[np.int64]:
    """The model's output for each phoneme, with -1 for unknown phonemes and for none."""
    known = [recognizer.phonemes.encode([p])[0] if p in recognizer.phonemes else -1 for p in names]
    return np.array([*known, -1], dtype=np.int64)


def _hypothesis(log_posteriors: Tensor, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the phoneme with the highest posterior in each row, -1 for the blank."""
    names = np.full(log_posteriors.shape[1], -1, dtype=np.int64)
    known = np.flatnonzero(outputs >= 0)
    names[outputs[known]] = known
    best: NDArray[np.int64] = names[log_posteriors.argmax(dim=-1).numpy()]
    return best


def _edges(spoken: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row is the first or last of its phoneme."""
    padded = np.concatenate([[-2], spoken, [-2]])
    edges: NDArray[np.bool_] = (padded[:-2] != spoken) | (padded[2:] != spoken)
    return edges & (spoken >= 0)


def _credit(
    weights: NDArray[np.float32], log_posteriors: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Each expert's share of the probability of the spoken phoneme, shape (rows, experts)."""
    rows = np.arange(len(targets))
    with np.errstate(divide="ignore"):
        joint = np.log(weights) + log_posteriors[rows, :, targets.clip(min=0)]  # (T, E)
    top = joint.max(axis=1, keepdims=True)
    parts = np.exp(joint - np.where(np.isfinite(top), top, 0))
    total = parts.sum(axis=1, keepdims=True)
    credit = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    credit[targets < 0] = 0
    rounded: NDArray[np.float32] = credit.astype(np.float32)
    return rounded
