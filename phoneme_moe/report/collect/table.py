"""The routing table: which expert was asked, frame by frame, over a whole split.

For routing that comes from elsewhere or is to be looked at row by row: ``statistics.summarize``
takes it. A run's own report never has a whole split in memory; it sums one ``UtteranceRouting``
after another (``tally.Tally``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RoutingTable:
    """Routing weights of every real frame (or token) of a split; padding is not in it.

    Attributes:
        experts: Name of each expert; an expert trained on one speaker bears that speaker's name.
        speakers: Names of the speakers that occur, in the order of the ``speaker`` indices.
        phonemes: Names of the phonemes, in the order of the ``phoneme`` indices.
        utterances: Utterance identifiers, in the order of the ``utterance`` indices.
        weights: Weight of each expert, shape (rows, experts), in 0..1, each row sums to 1.
        speaker: Index of the row's speaker, shape (rows,).
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 where there is none
            (silence, CTC blank).
        utterance: Index of the row's utterance, shape (rows,).
    """

    experts: tuple[str, ...]
    speakers: tuple[str, ...]
    phonemes: tuple[str, ...]
    utterances: tuple[str, ...]
    weights: NDArray[np.float32]
    speaker: NDArray[np.int64]
    phoneme: NDArray[np.int64]
    utterance: NDArray[np.int64]

    def __post_init__(self) -> None:
        rows = len(self.weights)
        if self.weights.shape != (rows, len(self.experts)):
            raise ValueError(
                f"weights have shape {self.weights.shape}, expected ({rows}, {len(self.experts)})"
            )
        for name in ("speaker", "phoneme", "utterance"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, expected ({rows},)"
                )
