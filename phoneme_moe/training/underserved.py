"""Which utterances of new speech a run serves badly, and how many kinds of them there are.

An utterance is served badly if the log probability of its phonemes, per phoneme, is lower than that
of nearly all of the run's own dev speech: the rank of a new value among held-out ones, as in
conformal anomaly detection (Laxhammar & Falkman 2010). That 5 % of the own speech are below the
threshold, and that twice as many of the new speech must be, are choices.

Utterances are clustered by what the run makes of them. Behind a gate that is how well each expert
recognises them, as speakers are described by the likelihoods of other speakers' models (anchor
models: Sturim et al. 2001); in an encoder the mean of its last hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor

from phoneme_moe.data.batches import Batch
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.ctc_crf import Trigram, log_partition
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.training.objectives import sequence_log_probability

QUANTILE = 0.05
"""Share of the own dev speech below the threshold."""

SMALLEST_SHARE = 2 * QUANTILE
"""Smallest share of new speech below the threshold that makes it another kind of speech."""

SMALLEST_SILHOUETTE = 0.5
"""Least mean silhouette of several clusters; below, the structure is weak and may be artificial
(Kaufman & Rousseeuw 1990)."""

BATCH_SIZE = 32
"""Utterances that are measured at a time: the sum over phoneme sequences takes memory."""

MAX_CLUSTERS = 8
SMALLEST_CLUSTER = 12
"""Fewest utterances of a cluster, which are a batch of a new expert."""


@dataclass(frozen=True)
class Served:
    """How well a run serves utterances.

    Attributes:
        log_probabilities: Log probability of the phonemes, nats per phoneme, shape (utterances,);
            0 for an utterance with fewer frames than phonemes, which no expert could serve.
        descriptions: What the run makes of the utterances, shape (utterances, numbers).
    """

    log_probabilities: NDArray[np.float64]
    descriptions: NDArray[np.float64]

    def is_bad(self, threshold: float) -> NDArray[np.bool_]:
        """Whether each utterance is below a threshold, shape (utterances,)."""
        bad: NDArray[np.bool_] = self.log_probabilities < threshold
        return bad


@dataclass(frozen=True)
class NewSpeech:
    """Speech on which a run is grown.

    Attributes:
        corpus: Name of the corpus.
        threshold: Log probability per phoneme below which an utterance is served badly, in nats.
        train: Training utterances of the new speech.
        badly_served: Those of them that are served badly.
        clusters: Cluster of each of these, shape (utterances,).
    """

    corpus: str
    threshold: float
    train: Sequence[Example]
    badly_served: Sequence[Example]
    clusters: NDArray[np.intp]

    @property
    def is_another_kind(self) -> bool:
        """Whether enough of it is served badly for another expert."""
        enough = max(SMALLEST_CLUSTER, SMALLEST_SHARE * len(self.train))
        return len(self.badly_served) >= enough

    def by_cluster(self) -> list[list[Example]]:
        """The badly served utterances of each cluster."""
        return [
            [e for e, c in zip(self.badly_served, self.clusters, strict=True) if c == number]
            for number in range(int(self.clusters.max(initial=-1)) + 1)
        ]


def trigram_of(run: LoadedRun) -> Trigram | None:
    """The n-gram with which a run's posteriors give probabilities; None if they do by themselves.

    Those of a run trained by ``crf`` are only meant to be multiplied by an n-gram, and normalised
    over all phoneme sequences.
    """
    ngram = run.decoding.language_model
    if run.recipe.training.stages[-1].objective != "crf" or ngram is None:
        return None
    return Trigram.from_ngram(ngram)


def measure_served(
    recognizer: Recognizer, examples: Sequence[Example], trigram: Trigram | None = None
) -> Served:
    """Measures how well a run serves utterances.

    Args:
        recognizer: The model, in evaluation mode.
        examples: Utterances; at least one.
        trigram: What ``trigram_of`` gives for the run.
    """
    by_utterance: dict[str, tuple[float, NDArray[np.float64]]] = {}
    for batch, recognition in recognize_examples(recognizer, examples, batch_size=BATCH_SIZE):
        outputs = [recognition.log_posteriors]
        if recognition.expert_log_posteriors is not None:
            outputs += recognition.expert_log_posteriors.unbind(dim=2)
        mask = recognition.routing.mask.cpu()
        per_phoneme = torch.stack(
            [
                _log_probability(output.float().cpu(), mask, batch, trigram)
                / batch.target_lengths.clamp(min=1)
                for output in outputs
            ],
            dim=1,
        )  # (B, 1 + E)
        described = per_phoneme[:, 1:]
        if recognition.hidden is not None:
            real = recognition.routing.mask[..., None]
            described = (recognition.hidden.float() * real).sum(dim=1) / real.sum(dim=1)
        for example, value, description in zip(
            batch.examples,
            per_phoneme[:, 0].tolist(),
            described.double().cpu().numpy(),
            strict=True,
        ):
            by_utterance[example.utterance] = value, description
    values, descriptions = zip(*(by_utterance[e.utterance] for e in examples), strict=True)
    return Served(np.array(values), np.stack(descriptions))


def _log_probability(
    log_posteriors: Tensor, mask: Tensor, batch: Batch, trigram: Trigram | None
) -> Tensor:
    """Log probability of each utterance's phonemes by CTC or CTC-CRF, shape (batch,)."""
    targets, lengths = batch.targets, batch.target_lengths
    by_ctc = sequence_log_probability(log_posteriors, mask.sum(dim=1), targets, lengths)
    if trigram is None:
        return by_ctc
    by_ngram = trigram.log_probability(targets, lengths)
    return torch.where(
        by_ctc < 0, by_ctc + by_ngram - log_partition(log_posteriors, mask, trigram), 0
    )


def badly_served_threshold(own: Served) -> float:
    """The log probability per phoneme below which an utterance is served badly.

    Args:
        own: How well the run serves its own dev speech.
    """
    return float(np.quantile(own.log_probabilities, QUANTILE))


def cluster_utterances(
    descriptions: NDArray[np.float64], number: int | None, seed: int
) -> NDArray[np.intp]:
    """Clusters utterances by k-means.

    Args:
        descriptions: One row for each utterance, shape (utterances, numbers).
        number: Number of clusters; by default that with the greatest mean silhouette (Rousseeuw
            1987), or a single one if none reaches 0.5 and has 12 utterances in each cluster.
        seed: Seed of k-means++.

    Returns:
        The cluster of each utterance, numbered by size, the largest first, shape (utterances,).
    """
    if number is None:
        chosen = np.zeros(len(descriptions), dtype=np.intp)
        greatest = SMALLEST_SILHOUETTE
        for count in range(2, min(MAX_CLUSTERS, len(descriptions) // SMALLEST_CLUSTER) + 1):
            labels = _k_means(descriptions, count, seed)
            sizes = np.bincount(labels, minlength=count)
            if sizes.min() < SMALLEST_CLUSTER:
                continue
            silhouette = float(silhouette_score(descriptions, labels))
            if silhouette > greatest:
                greatest, chosen = silhouette, labels
        return chosen
    return _k_means(descriptions, number, seed)


def _k_means(points: NDArray[np.float64], count: int, seed: int) -> NDArray[np.intp]:
    labels = KMeans(count, n_init=10, random_state=seed).fit(points).labels_
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    ranked: NDArray[np.intp] = np.argsort(order)[labels]
    return ranked
