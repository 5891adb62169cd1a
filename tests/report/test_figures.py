from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import planted_table

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document_parts import Clustering
from phoneme_moe.report.page.picture import figure_bytes, heat_map
from phoneme_moe.report.statistics import RoutingReport, summarize


def numbers(report: RoutingReport) -> list[str]:
    return [text.get_text() for text in heat_map(report, "t").axes[0].texts]


@pytest.mark.slow
def test_cells_carry_whole_per_cent(report: RoutingReport) -> None:
    assert numbers(report) == [f"{100 * weight:.0f}" for weight in report.weights.flat]


def test_the_order_is_that_of_the_page(report: RoutingReport) -> None:
    clustering = Clustering(
        speaker_order=[5, 0, 1, 2, 3, 4], expert_order=[2, 1, 0, 5, 4, 3], linkage=[]
    )
    figure = heat_map(report, "t", clustering)
    cells = figure.axes[0]
    speakers = [label.get_text() for label in cells.get_yticklabels()]
    assert speakers == ["theo", "ann_f1", "bob_m1", "jackson", "lucas", "mht"]
    experts = [label.get_text() for label in cells.get_xticklabels()]
    assert experts == ["jackson", "bob_m1", "ann_f1", "theo", "mht", "lucas"]
    weights = report.weights[np.ix_(clustering.speaker_order, clustering.expert_order)]
    assert [text.get_text() for text in cells.texts] == [f"{100 * w:.0f}" for w in weights.flat]
    outlined = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in cells.patches]
    assert (experts.index("theo"), 0) in outlined


def test_text_is_text_and_the_scale_ends_near_the_greatest_weight(large: RoutingReport) -> None:
    figure = heat_map(large, "A title")
    assert b">A title</text>" in figure_bytes(figure, "svg", "t")
    weights = np.full((2, 64), 1 / 64)
    even = summarize(planted_table(weights, ["a", "b"], [f"e{i}" for i in range(64)], rows=2))
    scale = heat_map(even, "t").axes[-1]
    assert [label.get_text() for label in scale.get_xticklabels()] == ["0", "2.5", "5 %"]


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
