"""What a routing decision tells of who speaks and of what is said, in bits.

Legend: N rows, E experts, S speakers, P phonemes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.table import RoutingTable

Floats = NDArray[np.float64]


def mutual_information(joint: Floats) -> float:
    """Mutual information of the rows and columns of a table of masses, in bits.

    Args:
        joint: At least 0, shape (labels, experts); its sum need not be 1.
    """
    share = joint / joint.sum()
    independent = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    there = share > 0
    return float((share[there] * np.log2(share[there] / independent[there])).sum())


def information_about(table: RoutingTable) -> tuple[float, float]:
    """Bits that asking for an expert tells of the speaker, and of the phoneme.

    An expert is drawn by its weight in a row, so that a row of several experts counts as a share of
    each. Rows without a phoneme (silence, blank) count for speakers only. What chance alone would
    give, about ``(labels - 1)(experts - 1) / (2 n ln 2)`` bits for n independent rows (Miller
    1955), is not taken off: frames are not independent.

    Args:
        table: The routing of a split.
    """
    spoken = table.phoneme >= 0
    return (
        mutual_information(_masses(table.speaker, table.weights, len(table.speakers))),
        mutual_information(
            _masses(table.phoneme[spoken], table.weights[spoken], len(table.phonemes))
        ),
    )


def _masses(label: NDArray[np.int64], weights: NDArray[np.float32], number: int) -> Floats:
    """Weight of each expert in the rows of each label, shape (labels, experts)."""
    masses = np.empty((number, weights.shape[1]))
    for expert in range(weights.shape[1]):
        masses[:, expert] = np.bincount(label, weights[:, expert], minlength=number)
    return masses
