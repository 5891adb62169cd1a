"""Mutual information between routing and speaker, and between routing and phoneme, in bits.

A row with two experts counts partly for each, according to their weights: everything is computed
from masses, sums of weights over rows. The bias of about ``(labels - 1)(experts - 1) / (2 n ln 2)``
bits for n independent rows (Miller, "Note on the bias of information estimates", 1955) is not
subtracted here: frames are not independent, and ``significance`` estimates it with whole utterances
instead.

Legend: E experts, S speakers, P phonemes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.routing_sums import RoutingSums, sum_table

Floats = NDArray[np.float64]
#: Masses in float32 or float64.
Masses = NDArray[np.floating[Any]]

_AT_ONCE = 2**15


def mutual_information(joint: Masses) -> float:
    """Mutual information of the rows and columns of a table of masses, in bits.

    Args:
        joint: Masses, at least 0, shape (labels, experts); need not sum to 1.

    Returns:
        Bits, at least 0; 0 without mass.
    """
    return conditional_information(joint[:, None])


def conditional_information(joint: Masses) -> float:
    """Conditional mutual information I(label; expert | condition), in bits.

    With speakers as labels and phonemes as conditions, this is the information about the speaker
    when the phoneme is known (Cover and Thomas, *Elements of Information Theory*, 2.5).

    Args:
        joint: Masses, at least 0, shape (labels, conditions, experts); need not sum to 1.

    Returns:
        Bits, at least 0; 0 without mass.
    """
    labels = joint.sum(axis=2, dtype=np.float64)
    experts = joint.sum(axis=0, dtype=np.float64)
    conditions = labels.sum(axis=0)
    total = float(conditions.sum())
    if total == 0:
        return 0.0
    nats = _log_sum(joint) - _log_sum(labels) - _log_sum(experts) + _log_sum(conditions)
    return max(nats / total / math.log(2), 0.0)


def cramers_v(joint: Masses) -> float:
    """Cramer's V of the rows and columns of a table of masses, from 0 (unrelated) to 1.

    Masses are normalised, so V does not depend on the number of rows. Labels and experts without
    mass are ignored (Cramer, *Mathematical Methods of Statistics*, 1946).

    Args:
        joint: Masses, at least 0, shape (labels, experts).

    Returns:
        V; 0 if fewer than two labels or two experts have mass.
    """
    joint = joint[joint.sum(axis=1) > 0][:, joint.sum(axis=0) > 0].astype(np.float64)
    fewer = min(joint.shape) - 1
    if fewer < 1:
        return 0.0
    share = joint / joint.sum()
    independent = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    contingency = float(((share - independent) ** 2 / independent).sum())
    return float(np.sqrt(contingency / fewer))


def information_about(routing: RoutingTable | RoutingSums) -> tuple[float, float]:
    """Mutual information of expert and speaker, and of expert and phoneme, in bits.

    Rows without a phoneme (silence, blank) count for speakers only.

    Args:
        routing: The routing of a split, by row or summed.
    """
    sums = sum_table(routing) if isinstance(routing, RoutingTable) else routing
    masses = sums.by_speaker()
    return (
        mutual_information(masses.sum(axis=1)),
        mutual_information(masses[:, 1:].sum(axis=0)),
    )


def _log_sum(masses: Masses) -> float:
    """Sum of m ln m over all masses, with 0 ln 0 = 0."""
    # Pieces that fit into the cache are ten times as fast for millions of masses.
    flat = masses.ravel()
    total = 0.0
    for start in range(0, len(flat), _AT_ONCE):
        exact = flat[start : start + _AT_ONCE].astype(np.float64)
        total += float(np.vdot(exact, np.log(np.maximum(exact, np.finfo(np.float64).tiny))))
    return total
