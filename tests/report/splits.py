"""Splits whose rows depend on each other inside an utterance, with what was planted in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from phoneme_moe.report.collect.table import UtteranceRouting
from phoneme_moe.report.routing_sums import RoutingAccumulator, RoutingSums


def accumulated(
    utterances: Iterable[UtteranceRouting], experts: Sequence[str], phonemes: Sequence[str]
) -> RoutingSums:
    tally = RoutingAccumulator(tuple(experts), tuple(phonemes))
    for one in utterances:
        tally.add(one)
    return tally.finish()


def dependent_utterances(
    random: np.random.Generator,
    *,
    speakers: Sequence[str] = ("ann", "bob", "cy", "di"),
    each: int = 10,
    rows: int = 30,
    speaker_scores: np.ndarray | None = None,
    phoneme_scores: np.ndarray | None = None,
    speaker_mixes: np.ndarray | None = None,
    shared: float = 1.5,
    num_phonemes: int = 5,
    num_experts: int = 4,
) -> list[UtteranceRouting]:
    """Utterances of softmax weights: a score for the utterance, one that drifts, and plants.

    Args:
        random: Where chance comes from.
        speakers: Their names.
        each: Utterances of each speaker.
        rows: About the rows of each utterance.
        speaker_scores: Added for the speaker, shape (speakers, experts).
        phoneme_scores: Added for the phoneme, shape (phonemes, experts).
        speaker_mixes: How often each speaker says each phoneme, shape (speakers, phonemes); a mix
            of its own for every utterance when left out.
        shared: Standard deviation of what all rows of an utterance share.
        num_phonemes: Phonemes.
        num_experts: Experts.
    """
    found = []
    for speaker, name in enumerate(speakers):
        for take in range(each):
            length = int(rows * random.uniform(0.6, 1.4))
            mix = random.dirichlet(np.full(num_phonemes, 1.5))
            if speaker_mixes is not None:
                mix = speaker_mixes[speaker]
            segments = random.choice(num_phonemes, length, p=mix)
            phoneme = np.repeat(segments, random.integers(2, 6, length))[:length]
            phoneme[random.random(length) < 0.1] = -1
            drift = np.cumsum(random.normal(0, 0.3, (length, num_experts)), axis=0)
            scores = shared * random.normal(size=num_experts) + drift - drift.mean(axis=0)
            if speaker_scores is not None:
                scores = scores + speaker_scores[speaker]
            if phoneme_scores is not None:
                scores = scores + np.where(phoneme[:, None] < 0, 0, phoneme_scores[phoneme])
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            found.append(utterance(f"{name}-{take:02}", name, weights, phoneme, random))
    return found


def utterance(
    name: str,
    speaker: str,
    weights: np.ndarray,
    phoneme: np.ndarray,
    random: np.random.Generator | None = None,
) -> UtteranceRouting:
    """One utterance; edges, judged and right rows by chance where there is one, else none."""
    spoken = phoneme >= 0
    marks, judged = np.zeros((2, len(phoneme)), dtype=bool), np.zeros(len(phoneme), dtype=bool)
    if random is not None:
        marks = random.random((2, len(phoneme))) < 0.5
        judged = marks[0] | ~marks[1]
    shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return UtteranceRouting(
        utterance=name,
        speaker=speaker,
        frame_seconds=0.01,
        weights=shares,
        phoneme=phoneme,
        edge=marks[0] & spoken,
        judged=judged,
        right=judged & marks[1],
        credit=np.where(spoken[:, None], shares[:, ::-1], 0).astype(np.float32),
    )
