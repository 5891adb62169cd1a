"""Means over runs with their confidence intervals, and significance tests between systems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from scipy import stats


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Estimate:
    """A mean over runs with its 95 % confidence interval."""

    mean: float
    sd: float
    """Standard deviation between runs."""
    low: float
    """Lower end of the 95 % interval of the mean."""
    high: float
    """Upper end."""
    count: int
    """Runs."""

    def points(self, digits: int) -> str:
        """A difference in points with its interval, as text."""
        mean, low, high = (f"{value:+.{digits}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} points ({low} to {high})"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval (Student's t) of independent runs.

    A single run has no interval: its ends are the value itself.

    Raises:
        ValueError: There are no values.
    """
    if not len(values):
        raise ValueError("no runs to take a mean of")
    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) == 1:
        return Estimate(mean, 0.0, mean, mean, 1)
    sd = float(array.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(array) - 1)) * sd / len(array) ** 0.5
    return Estimate(mean, sd, mean - half, mean + half, len(array))


@dataclass(frozen=True)
class TTest:
    """A two-sided test of equal means.

    Attributes:
        t: Positive where the first mean is larger.
        degrees: Degrees of freedom.
        p: Probability of a difference at least as large by chance.
    """

    t: float
    degrees: int
    p: float


def pooled_t_test(first: Sequence[float], second: Sequence[float]) -> TTest:
    """Student's t-test of independent runs with pooled variance, as in Jacobs et al. (1991).

    25 runs of each system give 48 degrees of freedom.
    """
    result = stats.ttest_ind(first, second, equal_var=True)
    return TTest(float(result.statistic), len(first) + len(second) - 2, float(result.pvalue))


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> TTest:
    """Student's t-test of runs that share seed and tokens, pair by pair.

    Runs that all agree have t = 0 and p = 1.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if not differences.any():
        return TTest(0.0, len(differences) - 1, 1.0)
    result = stats.ttest_rel(first, second)
    return TTest(float(result.statistic), len(differences) - 1, float(result.pvalue))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p value (binomial; McNemar 1947) of equal error rates on the same tokens.

    Args:
        only_first: Tokens that only the first system has right.
        only_second: Tokens that only the second system has right.

    Returns:
        1 where the two systems never differ.
    """
    differing = only_first + only_second
    if not differing:
        return 1.0
    return float(stats.binomtest(only_first, differing, 0.5).pvalue)
