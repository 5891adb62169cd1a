"""Means over the reports of several runs, with their experts matched.

Experts have no order, so those of each run are matched one to one to those of the first, such that
the weight that they share is greatest; experts that are named after speakers are matched by name.

Legend: R runs, S speakers, P phonemes, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment

from phoneme_moe.errors import InputError
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.seeds.document import Estimate, SeedRun, SeedsDocument

Floats = NDArray[np.float64]

_SHARED = ("unit", "speakers", "num_utterances")
"""What the reports of runs on the same speech have in common."""


def summarize_seeds(
    folders: Sequence[str], seeds: Sequence[int], reports: Sequence[RoutingDocument]
) -> SeedsDocument:
    """Summarises the reports of runs that differ in their seed.

    Args:
        folders: Name of each run, two at least.
        seeds: Seed of each run.
        reports: Report of each run, on the same speech.

    Raises:
        InputError: The reports are not of the same speakers, or have other numbers of experts.
    """
    first = reports[0]
    for folder, report in zip(folders[1:], reports[1:], strict=True):
        _check_same(folders[0], first, folder, report)
    tables = [_table(report) for report in reports]
    rows = np.array(first.speaker_phoneme_rows, dtype=float)
    rows = rows if rows.size else np.array(first.counts.rows, dtype=float)[:, None]
    orders = [
        _match(first, tables[0], report, table, rows)
        for report, table in zip(reports, tables, strict=True)
    ]
    weights = np.stack(
        [np.array(report.weights)[:, order] for report, order in zip(reports, orders, strict=True)]
    )  # (R, S, E)
    loads = np.stack(
        [np.array(report.load)[order] for report, order in zip(reports, orders, strict=True)]
    )
    return SeedsDocument(
        version=1,
        title=f"{first.title}, {len(reports)} seeds",
        facts=_shared_facts(reports),
        unit=first.unit,
        runs=[
            SeedRun(
                folder=folder,
                seed=seed,
                experts=[report.experts[i] for i in order],
                agreement=_agreement(tables[0], table[..., order], rows),
            )
            for folder, seed, report, table, order in zip(
                folders, seeds, reports, tables, orders, strict=True
            )
        ],
        speakers=first.speakers,
        experts=first.experts,
        error_rate=estimate([report.contribution.base_error_rate for report in reports], low=0),
        speaker_information=_information(reports),
        weights=[
            [estimate(weights[:, s, e].tolist(), 0, 1) for e in range(weights.shape[2])]
            for s in range(weights.shape[1])
        ],
        effective_experts=[
            estimate([report.effective_experts[s] for report in reports], 1, len(first.experts))
            for s in range(len(first.speakers))
        ],
        load=[estimate(loads[:, e].tolist(), 0, 1) for e in range(loads.shape[1])],
        leading=weights.argmax(axis=2).T.tolist(),
        removal=_removal(reports, orders),
    )


def estimate(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> Estimate:
    """The mean of runs with its 95 % interval by Student's t distribution.

    Args:
        values: A value of each run, two at least.
        low: Least value that is possible.
        high: Greatest value that is possible.
    """
    array = np.array(values, dtype=float)
    mean = float(array.mean())
    error = float(array.std(ddof=1)) / math.sqrt(len(array))
    reach = float(stats.t.ppf(0.975, len(array) - 1)) * error
    ends = max(low, mean - reach), min(high, mean + reach)
    return Estimate(values=array.tolist(), mean=mean, interval=ends)


def _check_same(name: str, first: RoutingDocument, other: str, report: RoutingDocument) -> None:
    for key in _SHARED:
        if getattr(first, key) != getattr(report, key):
            raise InputError(
                f"{other}: its report has other {key.removeprefix('num_')} than that of {name}; "
                "expected runs on the same speech"
            )
    if len(report.experts) != len(first.experts):
        raise InputError(
            f"{other}: found {len(report.experts)} experts, expected {len(first.experts)} as in "
            f"{name}"
        )


def _table(report: RoutingDocument) -> Floats:
    """Mean weights by speaker and phoneme, shape (S, P, E); 0 for phonemes that do not occur."""
    if not report.phonemes:
        return np.array(report.weights)[:, None]
    empty = [0.0] * len(report.experts)
    return np.array([[cell or empty for cell in row] for row in report.speaker_phoneme_weights])


def _match(
    first: RoutingDocument, table: Floats, report: RoutingDocument, other: Floats, rows: Floats
) -> list[int]:
    """Index of a run's expert for each expert of the first run."""
    if set(first.experts) == set(report.experts) and set(first.experts) & set(first.speakers):
        return [report.experts.index(name) for name in first.experts]
    shared = np.array(
        [
            [
                (rows * np.minimum(table[..., a], other[..., b])).sum()
                for b in range(other.shape[-1])
            ]
            for a in range(table.shape[-1])
        ]
    )
    _, order = linear_sum_assignment(shared, maximize=True)
    return [int(index) for index in order]


def _agreement(table: Floats, other: Floats, rows: Floats) -> list[float]:
    """Intersection over union of each expert's weights in two runs."""
    both = (rows[..., None] * np.minimum(table, other)).sum(axis=(0, 1))
    either = (rows[..., None] * np.maximum(table, other)).sum(axis=(0, 1))
    share = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return [min(1.0, float(value)) for value in share]


def _information(reports: Sequence[RoutingDocument]) -> Estimate | None:
    values = [
        test.corrected
        for report in reports
        for test in report.tests
        if test.name == "speaker_information" and test.scope is None
    ]
    return estimate(values) if len(values) == len(reports) else None


def _removal(
    reports: Sequence[RoutingDocument], orders: Sequence[Sequence[int]]
) -> list[Estimate] | None:
    changes = []
    for report, order in zip(reports, orders, strict=True):
        removal = report.contribution.removal
        if removal is None:
            return None
        of_expert = {one.expert: one.change for one in removal}
        if any(index not in of_expert for index in order):
            return None
        changes.append([of_expert[index] for index in order])
    return [estimate(values) for values in np.array(changes).T.tolist()]


def _shared_facts(reports: Sequence[RoutingDocument]) -> dict[str, str]:
    facts = reports[0].facts.items()
    return {key: value for key, value in facts if all(r.facts.get(key) == value for r in reports)}
