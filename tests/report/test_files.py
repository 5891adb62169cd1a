from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import matplotlib.image
import numpy as np
import pytest

from phoneme_moe.report.files import csv_text, json_text, write_report
from phoneme_moe.report.page import MOST_SPEAKERS, render_page
from phoneme_moe.report.palette import expert_colours, from_hex, ink, ramp, relative_luminance
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.table import RoutingTable
from phoneme_moe.report.verdict import verdict

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "routing.schema.json"
VOID = {"meta", "link", "br", "col", "img", "hr", "input"}
FILES = ["routing.json", "routing.csv", "routing.svg", "routing.png", "report.html"]


class Balance(HTMLParser):
    """Checks that every element is closed where it should be; collects text, links and ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.labelled_by: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.links += [named[key] or "" for key in ("href", "src") if key in named]
        self.ids += [named["id"] or ""] if "id" in named else []
        self.labelled_by += [named["aria-labelledby"] or ""] if "aria-labelledby" in named else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def odd(plant: Callable[..., RoutingTable]) -> RoutingReport:
    """One row, one expert, no phoneme."""
    table = plant(np.ones((1, 1)), ["ann"], ["all"], rows=1)
    assert table.phoneme[0] == -1
    return summarize(table, unit="token")


def load_json(report: RoutingReport) -> dict[str, object]:
    content: dict[str, object] = json.loads(json_text(report, "t", {"split": "dev"}))
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema, jsonschema.Draft202012Validator)
    return content


def test_json_fits_the_schema_and_keeps_every_digit(report: RoutingReport) -> None:
    content = load_json(report)
    np.testing.assert_array_equal(np.array(content["weights"]), report.weights)
    np.testing.assert_array_equal(np.array(content["phoneme_weights"]), report.phoneme_weights)
    np.testing.assert_array_equal(np.array(content["effective_experts"]), report.effective_experts)
    assert content["borrowed_from"] == [None, None, None, None, "bob_m1", "ann_f1"]
    assert content["most_used"] == ["ann_f1", "bob_m1", "jackson", "lucas", "bob_m1", "ann_f1"]
    assert content["unit"] == "frame"
    assert content["facts"] == {"split": "dev"}


def test_json_of_large_and_odd_reports_fits_too(large: RoutingReport, odd: RoutingReport) -> None:
    assert load_json(large)["dead"] == ["expert_15"]
    content = load_json(odd)
    assert (content["unit"], content["phonemes"], content["own_share"]) == ("token", [], [None])


def test_csv_holds_the_same_weights(report: RoutingReport) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
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


def test_write_report_writes_files_that_open_and_replaces_older_ones(
    report: RoutingReport, odd: RoutingReport, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "report"
    write_report(odd, folder, title="older", facts={})
    first = (folder / "routing.svg").read_bytes()
    files = write_report(report, folder, title="newer $x$ & co", facts={"split": "dev"})
    assert [file.name for file in files] == FILES
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    image = matplotlib.image.imread(folder / "routing.png")
    assert image.shape[1] == 1800
    assert image[..., :3].std() > 0.05
    assert ElementTree.parse(folder / "routing.svg").getroot().tag.endswith("svg")
    assert (folder / "routing.svg").read_bytes() != first
    again = (folder / "routing.svg").read_bytes()
    write_report(report, folder, title="newer $x$ & co", facts={"split": "dev"})
    assert (folder / "routing.svg").read_bytes() == again


def test_a_failed_write_leaves_the_older_report(
    report: RoutingReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(report, tmp_path, title="older", facts={})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, target: Path) -> Path:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(report, tmp_path, title="newer", facts={})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_page_is_balanced_and_reaches_nothing_outside(
    report: RoutingReport, large: RoutingReport, odd: RoutingReport
) -> None:
    for each in (report, large, odd):
        page = render_page(each, "A title", {"run": "r"})
        parsed = Balance(page)
        assert not re.search(r"https?:|//\w|url\(|@import|<script", page)
        assert {link for link in parsed.links if not link.startswith("#")} == set(FILES[:4])
        assert len(parsed.ids) == len(set(parsed.ids))
        assert set(parsed.labelled_by) <= set(parsed.ids)
        assert len(page) < 1_000_000
        assert ("phonemes" in parsed.ids) == bool(each.phonemes)


def test_page_escapes_what_users_named(plant: Callable[..., RoutingTable]) -> None:
    evil = '<script>alert("x")</script>'
    table = plant(np.eye(2), [evil, "bob"], [evil, "b&b"])
    page = render_page(summarize(table), evil, {evil: evil})
    parsed = Balance(page)
    assert "script" not in parsed.tags
    assert evil in parsed.text


def test_page_of_thousands_of_speakers_stays_small(plant: Callable[..., RoutingTable]) -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(16), 1000)
    experts = [f"expert_{i:02}" for i in range(16)]
    table = plant(weights, [f"speaker_{i:04}" for i in range(1000)], experts, rows=1)
    page = render_page(summarize(table), "Many", {})
    assert len(page) < 1_000_000
    assert f"the {MOST_SPEAKERS} speakers" in page


def test_verdict_tells_what_was_planted(report: RoutingReport, large: RoutingReport) -> None:
    told = " ".join(verdict(report))
    assert "ann_f1, bob_m1, jackson and lucas are served mainly by their own experts" in told
    assert "mht from bob_m1 88 % (own expert: 3 %)" in told
    assert "theo from ann_f1 40 % and jackson 35 % (own expert: 20 %)" in told
    assert "Expert expert_15 is dead" in " ".join(verdict(large))
    assert "No expert bears a speaker's name" in verdict(large)[0]


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


def test_importing_statistics_and_files_loads_nothing_heavy() -> None:
    code = (
        "import sys, phoneme_moe.report.statistics, phoneme_moe.report.files\n"
        "print([m for m in ('torch', 'lightning', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
