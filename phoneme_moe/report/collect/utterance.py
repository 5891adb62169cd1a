"""The routing of one utterance: what is collected, counted and written, one utterance at a time.

Legend: T rows (frames, or one token), E experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class UtteranceRouting:
    """Who was asked in every real frame (or token) of one utterance; padding is not in it.

    Attributes:
        utterance: Its identifier.
        speaker: Who speaks.
        frame_seconds: Seconds from one row to the next; the first row starts at 0.
        weights: Share of each expert in what was made of the row, shape (rows, experts), in 0..1,
            each row sums to 1; 0 for an expert that was not asked.
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 where there is none
            (silence, CTC blank, unknown).
        edge: Whether the row is the first or last of its phoneme, shape (rows,); False without a
            phoneme.
        right: Whether the model takes the spoken phoneme for the likeliest one, shape (rows,);
            False without a phoneme.
        credit: Each expert's part of the probability that the mixture gives the spoken phoneme,
            weight times its own probability over their sum, shape (rows, experts), each row sums
            to 1; 0 without a phoneme. None where experts have no posteriors of their own (layers
            inside an encoder).
    """

    utterance: str
    speaker: str
    frame_seconds: float
    weights: NDArray[np.float32]
    phoneme: NDArray[np.int64]
    edge: NDArray[np.bool_]
    right: NDArray[np.bool_]
    credit: NDArray[np.float32] | None = None

    @property
    def selected(self) -> NDArray[np.bool_]:
        """Which experts were asked at all, shape (rows, experts)."""
        return self.weights > 0
