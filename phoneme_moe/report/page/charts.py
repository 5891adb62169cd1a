"""Charts of the routing report as data: by expert, by speaker and over epochs.

``chart_plots.py`` draws them on the page, ``report/paper`` as files for papers.
Legend: R rows of a chart, L layers, N points of training, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.time_view import TimeView

Floats = NDArray[np.float64]

#: Maximum number of rows of a chart with one row per expert.
MOST_ROWS = 24
#: Maximum number of speakers whose names are beside their dots.
_MOST_NAMED = 14


def most_used(*weights: Floats) -> list[int]:
    """Indices of the experts with the greatest weights, at most ``MOST_ROWS``, in order."""
    greatest = np.max(weights, axis=0)
    return sorted(np.argsort(-greatest, kind="stable")[:MOST_ROWS].tolist())


@dataclass(frozen=True, eq=False)
class Dumbbells:
    """Two values per row as two dots with a line between them.

    Attributes:
        names: Names of the R rows, the first at the top.
        first: Values of the hollow dots in per cent, shape (rows,).
        second: Values of the filled dots in per cent, shape (rows,).
        labels: Names of the two values.
        axis: Label of the horizontal axis.
    """

    names: Sequence[str]
    first: Floats
    second: Floats
    labels: tuple[str, str]
    axis: str

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the horizontal axis."""
        return 0.0, max(1.0, float(max(self.first.max(), self.second.max())) * 1.06)


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes of the error rate without each expert, with a line at 0.

    Attributes:
        names: Names of the R rows.
        change: Changes in percentage points, shape (rows,).
        intervals: Intervals in percentage points, shape (rows, 2).
    """

    names: Sequence[str]
    change: Floats
    intervals: Floats

    axis = "change of the error rate, points"

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Whether the interval of a row excludes 0, shape (rows,); its dot is filled."""
        return (self.intervals[:, 0] > 0) | (self.intervals[:, 1] < 0)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the horizontal axis."""
        low, high = min(0.0, float(self.intervals.min())), max(0.0, float(self.intervals.max()))
        margin = 0.06 * (high - low or 1.0)
        return low - margin, high + margin


@dataclass(frozen=True, eq=False)
class Bits:
    """Information in bits: bar beyond chance, ring as measured, tick at chance.

    Attributes:
        names: Names of the R rows.
        measured: Information as measured, shape (rows,).
        chance: Its mean under permutation, shape (rows,).
    """

    names: Sequence[str]
    measured: Floats
    chance: Floats

    axis = "bits"

    @property
    def corrected(self) -> Floats:
        """Information beyond chance, shape (rows,)."""
        return self.measured - self.chance

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the horizontal axis."""
        high = max(float(self.measured.max()), float(self.chance.max()), 1e-3) * 1.08
        return min(0.0, float(self.corrected.min())) * 1.1, high


@dataclass(frozen=True, eq=False)
class MixingScatter:
    """A dot per speaker: effective number of experts (x), share of mixing within a row (y).

    Attributes:
        names: Names of the speakers.
        effective: Effective numbers of experts, shape (speakers,).
        mixing: Shares of mixing in per cent, shape (speakers,); NaN for no dot.
        num_experts: Number of experts.
        unit: Unit of averaging, frame or token.
    """

    names: Sequence[str]
    effective: Floats
    mixing: Floats
    num_experts: int
    unit: str

    x_axis = "effective number of experts"
    y_limits = (-6.0, 106.0)

    @property
    def y_axis(self) -> str:
        """Label of the vertical axis."""
        return f"mixing within a {self.unit}, %"

    @property
    def x_limits(self) -> tuple[float, float]:
        """Ends of the horizontal axis."""
        greatest = max(2.0, float(self.effective.max()) * 1.15)
        return 0.9, min(float(self.num_experts), greatest) + (0.25 if self.named else 0.05)

    @property
    def named(self) -> bool:
        """Whether there is room for names beside the dots."""
        return len(self.names) <= _MOST_NAMED


@dataclass(frozen=True, eq=False)
class Curves:
    """One line per layer over the epochs.

    Attributes:
        names: Names of the L layers.
        epochs: Labels of the N points.
        values: Values of every layer, shape (layers, points); NaN leaves a gap.
        axis: Label of the vertical axis.
        colours: Colours of the lines as ``#rrggbb``.
    """

    names: Sequence[str]
    epochs: Sequence[str]
    values: Floats
    axis: str
    colours: Sequence[str]

    @property
    def top(self) -> float:
        """Upper end of the vertical axis: 1 at least."""
        return max(1.0, float(np.nanmax(self.values, initial=0.0)) * 1.08)


@dataclass(frozen=True, eq=False)
class Stack:
    """The load of every expert over the epochs, stacked up to 100 %.

    Attributes:
        names: Names of the E experts.
        epochs: Labels of the N points.
        shares: Loads, shape (points, experts); rows sum to 1, or are NaN for a gap.
        colours: Colours of the experts as ``#rrggbb``.
    """

    names: Sequence[str]
    epochs: Sequence[str]
    shares: Floats
    colours: Sequence[str]

    axis = "load, %"

    @property
    def edges(self) -> NDArray[np.float32]:
        """Lower edge of every expert and the upper one of the last, shape (points, experts + 1)."""
        return np.pad(100 * self.shares.cumsum(axis=1), ((0, 0), (1, 0))).astype(np.float32)


Chart = HeatMap | Dumbbells | Changes | Bits | MixingScatter | Curves | Stack | TimeView
"""What a figure of the report shows."""


def labels_apart(x: Floats, y: Floats, size: tuple[float, float]) -> Floats:
    """Distances by which to lower labels, so that none is written over another.

    Args:
        x: Left ends of the labels.
        y: Their centres, downwards; NaN for a label that is not drawn.
        size: Width and height of a label, in the same unit.
    """
    placed: list[tuple[float, float]] = []
    lower = np.zeros(len(x))
    for i in np.argsort(y, kind="stable").tolist():
        if np.isnan(y[i]):
            continue
        place = float(y[i])
        for left, centre in sorted(placed, key=lambda one: one[1]):
            if abs(left - x[i]) < size[0] and abs(centre - place) < size[1]:
                place = centre + size[1]
        lower[i] = place - float(y[i])
        placed.append((float(x[i]), place))
    return lower


def in_percent_of(shares: ArrayLike) -> Floats:
    """Shares in 0..1 in per cent; None becomes NaN."""
    return np.asarray(shares, dtype=float) * 100


def epochs_span(epochs: Sequence[str]) -> tuple[float, float]:
    """First and last point, with a margin around a single one."""
    return (0.0, float(len(epochs) - 1)) if len(epochs) > 1 else (-0.5, 0.5)


def epochs_shown(epochs: Sequence[str], most: int = 4) -> range:
    """Indices of the epochs with a label on the axis, evenly spaced."""
    return range(0, len(epochs), -(-len(epochs) // most))
