from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.page.picture import heat_map
from phoneme_moe.report.statistics import RoutingReport, summarize


def numbers(report: RoutingReport) -> list[str]:
    return [text.get_text() for text in heat_map(report, "t").axes[0].texts]


@pytest.mark.slow
def test_cells_carry_whole_per_cent(report: RoutingReport) -> None:
    assert numbers(report) == [f"{100 * weight:.0f}" for weight in report.weights.flat]


def test_cells_too_small_to_read_carry_none(large: RoutingReport) -> None:
    assert numbers(large) == []


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "experts"), [(1, 1), (1, 6), (6, 1), (40, 16), (300, 125)])
def test_any_size_stays_within_the_canvas(
    speakers: int, experts: int, plant: Callable[..., RoutingTable]
) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(experts), speakers)
    names = [f"a_rather_long_speaker_name_$x_{i}" for i in range(speakers)]
    report = summarize(plant(weights, names, [f"expert_{i}" for i in range(experts)], rows=1))
    figure = heat_map(report, "A title of a length that people write, and then some more of it")
    width, height = figure.get_size_inches()
    assert width == 9
    assert height < 30
    if speakers < 300:
        figure.canvas.draw()
        canvas = figure.bbox
        for text in (*figure.texts, *figure.axes[0].get_yticklabels()):
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= canvas.x1
