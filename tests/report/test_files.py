from __future__ import annotations

import csv
import errno
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import matplotlib.image
import numpy as np
import pytest
from conftest import planted_table, typed_document

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.document import RoutingDocument, json_text
from phoneme_moe.report.files import routing_csv, write_report
from phoneme_moe.report.page.palette import expert_colours, from_hex, ink, ramp, relative_luminance
from phoneme_moe.report.statistics import RoutingReport

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "routing.schema.json"
FILES = ["routing.json", "routing.csv", "routing.svg", "routing.png", "report.html"]


def read_back(document: RoutingDocument) -> dict[str, Any]:
    text = json_text(document)
    assert RoutingDocument.model_validate_json(text) == document
    content: dict[str, Any] = json.loads(text)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)
    return content


@pytest.fixture
def document() -> RoutingDocument:
    return typed_document(planted_table(), "newer $x$ & co", {"split": "dev"})


def test_json_fits_the_schema_and_keeps_every_digit(
    report: RoutingReport, document: RoutingDocument
) -> None:
    content = read_back(document)
    np.testing.assert_array_equal(np.array(content["weights"]), report.weights)
    np.testing.assert_array_equal(np.array(content["phoneme_weights"]), report.phoneme_weights)
    np.testing.assert_array_equal(np.array(content["effective_experts"]), report.effective_experts)
    assert content["borrowed_from"] == [None, None, None, None, "bob_m1", "ann_f1"]
    assert content["most_used"] == ["ann_f1", "bob_m1", "jackson", "lucas", "bob_m1", "ann_f1"]
    assert content["unit"] == "frame"
    assert content["facts"] == {"split": "dev"}


def test_json_of_large_and_odd_reports_fits_too(
    large_table: RoutingTable,
    odd_table: RoutingTable,
) -> None:
    assert read_back(typed_document(large_table))["dead"] == ["expert_15"]
    content = read_back(typed_document(odd_table, unit="token"))
    assert (content["unit"], content["phonemes"], content["own_share"]) == ("token", [], [None])


def test_csv_holds_the_same_weights(report: RoutingReport, document: RoutingDocument) -> None:
    rows = list(csv.DictReader(io.StringIO(routing_csv(report, document))))
    for kind, names, weights, counts in (
        ("speaker", report.speakers, report.weights, report.rows),
        ("phoneme", report.phonemes, report.phoneme_weights, report.phoneme_rows),
    ):
        mine = [row for row in rows if row["kind"] == kind]
        assert [row["name"] for row in mine[:: len(report.experts)]] == list(names)
        read = np.array([float(row["weight"]) for row in mine]).reshape(weights.shape)
        np.testing.assert_allclose(read, weights, atol=1e-8)
        np.testing.assert_allclose(read.sum(axis=1), 1, atol=1e-6)
        assert [int(row["rows"]) for row in mine[:: len(report.experts)]] == list(counts)
    speakers = [row for row in rows if row["kind"] == "speaker"]
    lows = [float(row["low"]) for row in speakers]
    assert lows == pytest.approx(np.array(document.weight_intervals)[..., 0].ravel())


@pytest.mark.slow
def test_write_report_writes_files_that_open_and_replaces_older_ones(
    report: RoutingReport,
    odd: RoutingReport,
    odd_table: RoutingTable,
    document: RoutingDocument,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "deep" / "report"
    write_report(odd, typed_document(odd_table, "older", unit="token"), folder)
    first = (folder / "routing.svg").read_bytes()
    files = write_report(report, document, folder)
    assert [file.name for file in files] == FILES
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    image = matplotlib.image.imread(folder / "routing.png")
    assert image.shape[1] == 1800
    assert image[..., :3].std() > 0.05
    assert ElementTree.parse(folder / "routing.svg").getroot().tag.endswith("svg")
    assert (folder / "routing.svg").read_bytes() != first
    again = (folder / "routing.svg").read_bytes()
    write_report(report, document, folder)
    assert (folder / "routing.svg").read_bytes() == again


@pytest.mark.slow
def test_a_failed_write_leaves_the_older_report(
    report: RoutingReport,
    document: RoutingDocument,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_report(report, document.model_copy(update={"title": "older"}), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(report, document, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_cell_numbers_reach_the_contrast_of_wcag_aa() -> None:
    backgrounds = [*map(tuple, ramp("light")), *map(tuple, ramp("dark"))]
    backgrounds += [from_hex(colour) for colour in (*expert_colours(6), *expert_colours(16))]
    for background in backgrounds:
        pair = sorted([relative_luminance(background), relative_luminance(ink(background))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_ramps_run_in_one_direction() -> None:
    light = [relative_luminance(tuple(colour)) for colour in ramp("light")]
    dark = [relative_luminance(tuple(colour)) for colour in ramp("dark")]
    assert light[0] == pytest.approx(1, abs=1e-3)
    assert np.all(np.diff(light) < 0)
    assert np.all(np.diff(dark) > 0)


@pytest.mark.slow
def test_importing_statistics_and_files_loads_nothing_heavy() -> None:
    code = (
        "import sys, phoneme_moe.report.statistics, phoneme_moe.report.files\n"
        "heavy = ('torch', 'lightning', 'matplotlib', 'jinja2', 'bokeh')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
