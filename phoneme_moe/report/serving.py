"""Which expert serves a speaker: every speaker is in exactly one of five cases.

Legend: S speakers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Serving = Literal["own", "other", "blend", "shared", "none"]
"""``own``: the speaker's own expert has half of the weight. ``other``: another expert has half, or
twice the weight of the own expert. ``blend``: there is an own expert, but neither holds. Without an
own expert, ``shared``: one expert has half of the weight, and ``none``: none has.
"""

#: The share of the weight that makes an expert the main one.
MAIN_SHARE = 0.5
#: A speaker borrows if another expert has at least this many times the weight of its own.
BORROW_RATIO = 2.0


def serving(weights: NDArray[np.float64], own_expert: Sequence[int | None]) -> tuple[Serving, ...]:
    """The case of every speaker.

    Args:
        weights: Mean weight of each expert, 0..1, shape (speakers, experts); rows sum to 1.
        own_expert: Index of each speaker's own expert, or None.
    """
    return tuple(
        _case(float(row.max()), None if own is None else float(row[own]))
        for row, own in zip(weights, own_expert, strict=True)
    )


def _case(greatest: float, own: float | None) -> Serving:
    """The case of a speaker, from the greatest weight and that of its own expert."""
    has_main = greatest >= MAIN_SHARE
    if own is None:
        return "shared" if has_main else "none"
    if own >= MAIN_SHARE:
        return "own"
    return "other" if has_main or greatest >= BORROW_RATIO * own else "blend"
