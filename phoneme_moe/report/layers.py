"""Comparison of the sparse layers of an encoder: load, dead experts, agreement.

Legend: T rows, E experts of a layer, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.document_parts import SparseLayers
from phoneme_moe.report.information import mutual_information
from phoneme_moe.report.statistics import effective_number

Floats = NDArray[np.float64]


class LayerAccumulator:
    """Accumulates the routing of all layers, utterance by utterance."""

    def __init__(self) -> None:
        self.load: dict[str, Floats] = {}
        self.joint: dict[tuple[str, str], Floats] = {}

    def add(self, layers: Mapping[str, NDArray[np.float32]]) -> None:
        """Adds an utterance.

        Args:
            layers: Weights of each layer, each of shape (rows, experts).
        """
        first = {name: weights.argmax(axis=1) for name, weights in layers.items()}
        for name, weights in layers.items():
            nothing = np.zeros(weights.shape[1])
            self.load[name] = self.load.get(name, nothing) + weights.sum(axis=0, dtype=np.float64)
        for one, other in combinations(sorted(layers), 2):
            shape = (layers[one].shape[1], layers[other].shape[1])
            pairs = np.bincount(first[one] * shape[1] + first[other], minlength=shape[0] * shape[1])
            known = self.joint.get((one, other), np.zeros(shape))
            self.joint[one, other] = known + pairs.reshape(shape)

    def finish(self) -> SparseLayers | None:
        """The layers in numerical order; None if fewer than two.

        Agreement is the mutual information of two layers' experts with the greatest weight in the
        same row, divided by the mean of their entropies (Strehl & Ghosh 2002): 0 if independent, 1
        if each determines the other.
        """
        if len(self.load) < 2:
            return None
        names = sorted(self.load, key=_order)
        load = {name: sums / sums.sum() for name, sums in self.load.items()}
        return SparseLayers(
            names=names,
            experts=[len(load[name]) for name in names],
            load=[load[name].tolist() for name in names],
            effective=[float(effective_number(load[name])) for name in names],
            dead=[
                np.flatnonzero(load[name] < DEAD_PART / len(load[name])).tolist() for name in names
            ],
            agreement=[[self._agreement(one, other) for other in names] for one in names],
        )

    def _agreement(self, one: str, other: str) -> float:
        if one == other:
            return 1.0
        joint = self.joint[min(one, other), max(one, other)]
        entropies = [_bits(joint.sum(axis=axis)) for axis in (0, 1)]
        mean = sum(entropies) / 2
        return float(np.clip(mutual_information(joint) / mean, 0, 1)) if mean > 0 else 0.0


def _bits(counts: Floats) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _order(name: str) -> tuple[str, int]:
    """Sort key that puts ``block_10`` after ``block_2``."""
    head, _, number = name.rpartition("_")
    return (head, int(number)) if number.isdigit() else (name, 0)
