"""The sparse layers of an encoder beside each other: load, dead experts, and whether they agree.

Legend: T rows, E experts of a layer, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.information import mutual_information
from phoneme_moe.report.statistics import effective_number

Floats = NDArray[np.float64]


class LayerTally:
    """Adds up what the layers do, utterance by utterance."""

    def __init__(self) -> None:
        self.load: dict[str, Floats] = {}
        self.together: dict[tuple[str, str], Floats] = {}

    def add(self, layers: Mapping[str, NDArray[np.float32]]) -> None:
        """Adds an utterance.

        Args:
            layers: Weights of each layer, each of shape (rows, experts).
        """
        first = {name: weights.argmax(axis=1) for name, weights in layers.items()}
        for name, weights in layers.items():
            nothing = np.zeros(weights.shape[1])
            self.load[name] = self.load.get(name, nothing) + weights.sum(axis=0, dtype=np.float64)
        for one in layers:
            for other in layers:
                if one < other:
                    shape = (layers[one].shape[1], layers[other].shape[1])
                    both = np.bincount(
                        first[one] * shape[1] + first[other], minlength=shape[0] * shape[1]
                    ).reshape(shape)
                    self.together[one, other] = (
                        self.together.get((one, other), np.zeros(shape)) + both
                    )

    def to_json(self) -> dict[str, Any] | None:
        """As in docs/schemas/routing.schema.json; None with fewer than two layers.

        ``agreement`` is the mutual information of the heaviest experts of two layers in the same
        row over the mean of their entropies (Strehl & Ghosh 2002): 0 when they have nothing to do
        with each other, 1 when each follows from the other.
        """
        if len(self.load) < 2:
            return None
        names = sorted(self.load, key=_order)
        load = {name: own / own.sum() for name, own in self.load.items()}
        return {
            "names": names,
            "experts": [len(load[name]) for name in names],
            "load": [load[name].tolist() for name in names],
            "effective": [float(effective_number(load[name])) for name in names],
            "dead": [
                np.flatnonzero(load[name] < DEAD_PART / len(load[name])).tolist() for name in names
            ],
            "agreement": [[self._agreement(one, other) for other in names] for one in names],
        }

    def _agreement(self, one: str, other: str) -> float:
        if one == other:
            return 1.0
        both = self.together[min(one, other), max(one, other)]
        entropies = [_bits(both.sum(axis=axis)) for axis in (0, 1)]
        mean = sum(entropies) / 2
        return float(np.clip(mutual_information(both) / mean, 0, 1)) if mean > 0 else 0.0


def _bits(counts: Floats) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _order(name: str) -> tuple[str, int]:
    """``block_10`` after ``block_2``."""
    head, _, number = name.rpartition("_")
    return (head, int(number)) if number.isdigit() else (name, 0)
