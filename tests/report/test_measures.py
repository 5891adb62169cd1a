"""Registered numbers of each speaker, in routing.json and on the page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from test_statistics import tables

from phoneme_moe.errors import InputError
from phoneme_moe.models import shipped_models
from phoneme_moe.report.build_document import report_of
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.measures import MEASURES, Measure, divergence_from_load, measure
from phoneme_moe.report.page.render import render_page
from phoneme_moe.report.statistics import RoutingReport, effective_number, summarize


@settings(max_examples=60)
@given(tables())
def test_the_mean_divergence_is_the_information_of_mean_weights_about_speakers(
    table: RoutingTable,
) -> None:
    report = summarize(table)
    share = report.rows / report.rows.sum()
    entropy = np.log2(effective_number(report.load))
    conditional = np.log2(effective_number(report.weights))
    mean = share @ divergence_from_load(report)
    np.testing.assert_allclose(mean, entropy - share @ conditional, atol=1e-6)
    assert (divergence_from_load(report) <= np.log2(1 / share) + 1e-6).all()


def a_document() -> RoutingDocument:
    """A report from before there were measures."""
    text = (shipped_models()["english"] / "report" / "routing.json").read_text(encoding="utf-8")
    return RoutingDocument.model_validate_json(text)


def test_a_measure_of_another_package_is_stored_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(report: RoutingReport) -> list[float]:
        return [float("nan"), *report.rows[1:].tolist()]

    monkeypatch.setitem(MEASURES.items_here, "acme", Measure("rows of Acme", rows))
    document = a_document()
    assert document.measures == {}
    found = measure(report_of(document))
    assert list(found) == ["divergence_from_load", "acme"]
    assert found["acme"].by_speaker == [None, *map(float, document.counts.rows[1:])]
    page = render_page(document.model_copy(update={"measures": found}).model_dump(mode="json"))
    assert "rows of Acme" in page
    assert "divergence from load, bits" in page


def test_a_measure_has_one_number_for_each_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(a_document())
    monkeypatch.setitem(MEASURES.items_here, "wrong", Measure("wrong", lambda report: [1.0]))
    with pytest.raises(InputError, match=r"'wrong': found values of shape \(1,\)"):
        measure(report)
