"""Names that try to be markup, in everything that a browser or notebook shows.

The report's page in a browser is in ``test_browser``, the clips are in ``test_clips``.
"""

from __future__ import annotations

import dataclasses
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import PLANTED, planted_table
from test_report_page import EVIL, rename
from waiting import BROWSER_PATIENCE_MS

import phoneme_moe
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.report.compare.page import render_comparison
from phoneme_moe.report.compare.run import compare_runs
from phoneme_moe.report.page.picture import figure_bytes, heat_map
from phoneme_moe.report.statistics import summarize
from phoneme_moe.transcription.transcript import Transcript

RUNS = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
NAMES = (
    EVIL,
    '" onmouseover="alert(1)',
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]><script>",
    "&lt;b&gt;",
)


class Markup(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_same_markup(evil: str, plain: str) -> Markup:
    """Evil names change text and the values of attributes, and nothing else."""
    found, expected = Markup(evil), Markup(plain)
    assert found.tags == expected.tags
    assert [name for name, _ in found.attributes] == [name for name, _ in expected.attributes]
    links = [value for name, value in found.attributes if name in {"href", "src", "action"}]
    assert not [link for link in links if link.strip().lower().startswith("javascript:")]
    return found


@pytest.fixture(scope="module")
def comparison(
    tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory
) -> ComparisonDocument:
    runs = [phoneme_moe.load(RUNS / name) for name in ("gate", "sparse")]
    return compare_runs(runs[0], runs[1], out=tmp_path_factory.mktemp("compared")).document


def evil_comparison(comparison: ComparisonDocument, evil: str) -> ComparisonDocument:
    """The comparison with other names of speakers, experts, phonemes, utterances and runs."""
    document = comparison.model_dump(mode="json")
    names = {"ann", "bob", "carol", "dan", "a", "i", "m", "s", document["title"]}
    names |= {document[side]["name"] for side in ("a", "b")}
    names |= {name for side in ("a", "b") for name in document[side]["experts"] or ()}
    names |= {one["utterance"] for one in document["utterances"]}
    renamed = rename(document, lambda text: f"{evil}{text}" if text in names else text)
    return ComparisonDocument.model_validate(renamed)


@pytest.mark.parametrize("evil", NAMES)
def test_a_comparison_shows_names_as_text(comparison: ComparisonDocument, evil: str) -> None:
    page = render_comparison(evil_comparison(comparison, evil))
    found = assert_same_markup(page, render_comparison(evil_comparison(comparison, "x")))
    assert "script" not in found.tags
    assert f"{evil}carol" in found.text


def test_no_name_of_a_comparison_runs_in_a_browser(
    chromium: Any, comparison: ComparisonDocument, tmp_path: Path
) -> None:
    file = tmp_path / "comparison.html"
    evil = "".join(NAMES)
    file.write_text(render_comparison(evil_comparison(comparison, evil)), encoding="utf-8")
    page = chromium.new_page()
    page.set_default_timeout(BROWSER_PATIENCE_MS)
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.goto(file.as_uri())
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    assert seen == [file.as_uri()]
    assert page.locator("script, img, [onmouseover]").count() == 0
    assert page.get_by_text("javascript:alert(1)").count() > 0


@pytest.mark.parametrize("evil", NAMES)
def test_a_transcript_in_a_notebook_shows_names_as_text(evil: str) -> None:
    def html(name: str) -> str:
        weights = {f"{name}one": 0.25, f"{name}two": 0.75}
        segment = Segment(f"{name}p", 0.0, 0.1, 0.5, weights)
        path = Path(name.replace("/", "_"))
        return Transcript(path, 1.0, (segment,), (), weights, name, name)._repr_html_()

    found = assert_same_markup(html(evil), html("x"))
    assert f"{evil}two" in found.text


@pytest.mark.parametrize("evil", NAMES)
def test_a_model_card_in_a_notebook_shows_names_as_text(tmp_path: Path, evil: str) -> None:
    def html(name: str) -> str:
        folder = tmp_path / name.replace("/", "_")[:40]
        run = phoneme_moe.load(shutil.copytree(RUNS / "gate", folder, dirs_exist_ok=True))
        corpus = run.recipe.corpus.model_copy(update={"name": f"{name}corpus"})
        recipe = run.recipe.model_copy(update={"description": f"{name}words", "corpus": corpus})
        return dataclasses.replace(run, recipe=recipe)._repr_html_()

    found = assert_same_markup(html(evil), html("x"))
    assert f"{evil}words" in found.text


@pytest.mark.parametrize("evil", [*NAMES, "$x^2$", r"$\frac{", "a_b^c", "\x1b[31m\x07"])
def test_the_figure_is_xml_without_markup_of_names(evil: str) -> None:
    def elements(name: str) -> tuple[set[str], set[str]]:
        speakers = [f"{name}{number}" for number in range(len(PLANTED))]
        report = summarize(planted_table(PLANTED, speakers, speakers))
        figure = heat_map(report, f"{name}title")
        root = ElementTree.fromstring(figure_bytes(figure, "svg", f"{name}title"))
        tags = {element.tag for element in root.iter()}
        return tags, {attribute for element in root.iter() for attribute in element.attrib}

    assert elements(evil) == elements("x")
