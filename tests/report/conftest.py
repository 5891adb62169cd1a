"""Routing tables with planted blends, and a browser for pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from browsers import headless_browser

from phoneme_moe.report.build_document import build_document
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import Cost
from phoneme_moe.report.expert_ablation import Ablations
from phoneme_moe.report.routing_sums import sum_table
from phoneme_moe.report.specialisation import specialise
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.verdict import verdict

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
def large_table() -> RoutingTable:
    """125 speakers and 16 experts, the last one dead."""
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(16, 0.3), 125)
    weights[:, 15] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    speakers = [f"spk{i:03}" for i in range(125)]
    return planted_table(weights, speakers, [f"expert_{i:02}" for i in range(16)], 4)


@pytest.fixture
def large(large_table: RoutingTable) -> RoutingReport:
    return summarize(large_table)


@pytest.fixture
def odd_table() -> RoutingTable:
    """One row, one expert, no phoneme."""
    table = planted_table(np.ones((1, 1)), ["ann"], ["all"], rows=1)
    assert table.phoneme[0] == -1
    return table


@pytest.fixture
def odd(odd_table: RoutingTable) -> RoutingReport:
    return summarize(odd_table, unit="token")


def typed_document(
    table: RoutingTable, title: str = "t", facts: dict[str, str] | None = None, unit: str = "frame"
) -> RoutingDocument:
    """The whole report of a table: all that needs no model."""
    report = summarize(table, unit=unit)
    document = build_document(
        report,
        specialise(sum_table(table), draws=49),
        Ablations(0.1),
        Cost(
            parameters=1,
            active_parameters=1,
            multiply_adds_per_frame=None,
            frame_ms=10.0,
            weight_bytes=4,
        ),
        title=title,
        facts=facts or {},
    )
    return document.model_copy(update={"verdict": verdict(report, document)})


@pytest.fixture
def documented() -> Callable[..., dict[str, Any]]:
    """The same as plain data."""
    return lambda *args, **kwargs: typed_document(*args, **kwargs).model_dump(mode="json")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    # A microphone that beeps.
    switches = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with headless_browser(switches) as browser:
        yield browser
