"""Where a voice lies among the known speakers, by mean weights of the experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.serve.documents import NearSpeakerDocument, SpeakersDocument

LEAST_SHARE = 0.05
"""Smallest share of an expert that the sentence names."""


def jensen_shannon_distance(
    weights: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Square root of the Jensen-Shannon divergence in bits (Endres & Schindelin 2003), 0..1.

    Args:
        weights: A distribution, shape (experts,).
        others: Distributions, shape (speakers, experts).
    """
    middle = (weights + others) / 2

    def divergence(p: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(p > 0, p * np.log2(p / middle), 0.0)
        total: NDArray[np.float64] = terms.sum(axis=-1)
        return total

    of_one = divergence(np.broadcast_to(weights, others.shape))
    return np.sqrt(np.clip((of_one + divergence(others)) / 2, 0.0, 1.0))


def place_among_speakers(
    weights: Sequence[float], experts: Sequence[str], report: RoutingDocument
) -> SpeakersDocument:
    """Compares the mean weights of a voice with those of the speakers of a routing report.

    Args:
        weights: Mean weight of each expert for the voice.
        experts: Names of the experts.
        report: A report on the same run and layer.

    Raises:
        InputError: The report has other experts.
    """
    if list(experts) != report.experts or len(weights) != len(experts):
        raise InputError("report: it has other experts than the weights; make the report again")
    voice = np.asarray(weights, np.float64)
    voice = voice / voice.sum()
    known = np.asarray(report.weights, np.float64)
    distances = jensen_shannon_distance(voice, known)
    nearest = [
        NearSpeakerDocument(
            speaker=report.speakers[index],
            distance=round(float(distances[index]), 4),
            weights=[round(w, 4) for w in known[index].tolist()],
        )
        for index in np.argsort(distances, kind="stable").tolist()
    ]
    return SpeakersDocument(
        experts=list(experts),
        weights=[round(w, 4) for w in voice.tolist()],
        nearest=nearest,
        sentence=_sentence(voice, experts, report.speakers, nearest[0]),
    )


def _sentence(
    voice: NDArray[np.float64],
    experts: Sequence[str],
    speakers: Sequence[str],
    nearest: NearSpeakerDocument,
) -> str:
    by_share = sorted(zip(voice.tolist(), experts, strict=True), reverse=True)
    named = [f"{100 * w:.0f} % {name}" for w, name in by_share if w >= LEAST_SHARE]
    # Experts of speakers are named after them; those of a sparse layer are numbered.
    of_speakers = set(experts) <= set(speakers)
    what = "You are" if of_speakers else "Your voice is recognised by"
    close = f"The speaker who is routed most like you is {nearest.speaker}"
    return f"{what} {', '.join(named)}. {close} (distance {nearest.distance:.2f} of 1)."
