"""Routing tables with planted blends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.table import RoutingTable

SPEAKERS = ("ann_f1", "bob_m1", "jackson", "lucas", "mht", "theo")
#: mht borrows from bob_m1, theo is a blend of ann_f1 and jackson; the rest own their expert.
PLANTED = np.array(
    [
        [0.94, 0.02, 0.01, 0.01, 0.01, 0.01],
        [0.02, 0.94, 0.01, 0.01, 0.01, 0.01],
        [0.01, 0.01, 0.94, 0.02, 0.01, 0.01],
        [0.20, 0.01, 0.01, 0.76, 0.01, 0.01],
        [0.01, 0.88, 0.06, 0.01, 0.03, 0.01],
        [0.40, 0.03, 0.35, 0.01, 0.01, 0.20],
    ]
)


def planted_table(
    weights: np.ndarray = PLANTED,
    speakers: Sequence[str] = SPEAKERS,
    experts: Sequence[str] | None = None,
    rows: int = 20,
) -> RoutingTable:
    """Every row of a speaker has the speaker's weights; phonemes a, b and none in turn."""
    speaker = np.repeat(np.arange(len(speakers)), rows)
    return RoutingTable(
        experts=tuple(experts or speakers),
        speakers=tuple(speakers),
        phonemes=("a", "b"),
        utterances=tuple(f"{name}-{take}" for name in speakers for take in range(2)),
        weights=weights[speaker].astype(np.float32),
        speaker=speaker,
        phoneme=np.arange(len(speaker)) % 3 - 1,
        utterance=speaker * 2 + np.tile(np.arange(rows) % 2, len(speakers)),
    )


@pytest.fixture
def planted() -> np.ndarray:
    return PLANTED


@pytest.fixture
def plant() -> Callable[..., RoutingTable]:
    return planted_table


@pytest.fixture
def report() -> RoutingReport:
    return summarize(planted_table())


@pytest.fixture
def large() -> RoutingReport:
    """125 speakers and 16 experts, the last one dead."""
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(16, 0.3), 125)
    weights[:, 15] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    speakers = [f"spk{i:03}" for i in range(125)]
    return summarize(planted_table(weights, speakers, [f"expert_{i:02}" for i in range(16)], 4))
