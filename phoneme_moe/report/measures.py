"""Numbers of a speaker's routing that are registered: the report computes, stores and shows them.

A measure is a function from the mean weights and counts; ``routing.json`` has its values under
``measures``, and the page a column in the table of all values by speaker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from phoneme_moe.errors import InputError
from phoneme_moe.extensions import Registry
from phoneme_moe.report.document_parts import MeasureValues
from phoneme_moe.report.statistics import Floats, RoutingReport

Compute: TypeAlias = "Callable[[RoutingReport], Sequence[float] | Floats] | str"
"""A function from a report to a number for each speaker, or its place, module:function."""


@dataclass(frozen=True)
class Measure:
    """A number for each speaker.

    Attributes:
        title: Heading of its column, with the unit.
        compute: Function from a report to one number for each speaker, in the order of
            ``RoutingReport.speakers``; NaN where it is undefined.
    """

    title: str
    compute: Compute

    def values(self, report: RoutingReport) -> Floats:
        """The number of each speaker, shape (speakers,)."""
        compute = self.compute
        if isinstance(compute, str):
            module, _, name = compute.partition(":")
            compute = getattr(import_module(module), name)
        return np.asarray(compute(report), dtype=np.float64)


def divergence_from_load(report: RoutingReport) -> Floats:
    """Kullback-Leibler divergence of a speaker's mean weights from the load, in bits.

    How far the routing of the speaker is from that of all speech; its mean over rows is the mutual
    information between speaker and mean weights (the specific surprise of DeWeese & Meister, "How
    to measure the information gained from one symbol", Network 1999).
    """
    weights = report.weights
    ratio = np.divide(weights, report.load, out=np.ones_like(weights), where=weights > 0)
    divergence: Floats = (weights * np.log2(ratio)).sum(axis=1)
    return np.maximum(divergence, 0.0)  # rounding of float32 weights


MEASURES = Registry(
    "phoneme_moe.measures",
    Measure,
    {"divergence_from_load": Measure("divergence from load, bits", divergence_from_load)},
)
"""Measures by their keys in ``routing.json``; other packages add to them."""


def measure(report: RoutingReport) -> dict[str, MeasureValues]:
    """All measures of a report, by key.

    Raises:
        InputError: A measure has not one number for each speaker.
    """
    found = {}
    for name, registered in MEASURES.items():
        values = registered.values(report)
        if values.shape != (len(report.speakers),):
            raise InputError(
                f"{MEASURES.group} {name!r}: found values of shape {values.shape}, expected one "
                f"for each of {len(report.speakers)} speakers"
            )
        numbers = [float(value) if np.isfinite(value) else None for value in values]
        found[name] = MeasureValues(title=registered.title, by_speaker=numbers)
    return found
