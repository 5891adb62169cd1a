"""What discrete experts can be expected to reach, by a method that leaves little to training."""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

SOFTNESS = 0.5
"""Of the weights of clusters, in squared standard deviations of the side input."""

FLOOR = 2e-4
"""Added to each variance, kHz squared: a cluster may have few tokens of a vowel."""


def gaussians_by_speaker(
    formants: np.ndarray,
    shown: np.ndarray | None,
    vowel: np.ndarray,
    training: np.ndarray,
    clusters: int,
) -> np.ndarray:
    """A Gaussian for each vowel in each cluster of speakers, blended by nearness to the clusters.

    Args:
        formants: Shape (cases, 2).
        shown: Side input that tells speakers apart, standardised, shape (cases, inputs); None for
            one Gaussian a vowel.
        vowel: Shape (cases,).
        training: Which cases the Gaussians are fitted to, shape (cases,).
        clusters: Of speakers, by k-means, the best of five starts.

    Returns:
        The likeliest vowel of every case, shape (cases,).
    """
    nearness = np.ones((len(formants), 1))
    if shown is not None:
        tries = [kmeans2(shown[training], clusters, minit="++", seed=seed)[0] for seed in range(5)]
        best = min(tries, key=lambda c: float(_distances(shown[training], c).min(axis=1).sum()))
        distances = _distances(shown, best)
        nearness = np.exp((distances.min(axis=1, keepdims=True) - distances) / SOFTNESS)
    nearness /= nearness.sum(axis=1, keepdims=True)
    blend = sum(
        share[:, None] * _posteriors(formants, vowel, share * training) for share in nearness.T
    )
    answer: np.ndarray = np.argmax(blend, axis=1)
    return answer


def _distances(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.square(values[:, None] - centres).sum(axis=-1)
    return squares


def _posteriors(formants: np.ndarray, vowel: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of equally likely vowels, each a Gaussian fitted to weighted cases; (cases, vowels)."""
    scores = []
    for number in range(vowel.max() + 1):
        own = weights * (vowel == number) + 1e-12
        mean = np.average(formants, axis=0, weights=own)
        scatter = np.cov(formants.T, aweights=own, bias=True) + FLOOR * np.eye(len(mean))
        off = formants - mean
        distance = np.einsum("ci,ij,cj->c", off, np.linalg.inv(scatter), off)
        scores.append(-(distance + np.linalg.slogdet(scatter)[1]) / 2)
    likelihoods = np.exp(np.array(scores) - np.max(scores, axis=0))
    posteriors: np.ndarray = (likelihoods / likelihoods.sum(axis=0)).T
    return posteriors
