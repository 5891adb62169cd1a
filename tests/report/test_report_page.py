"""The page as text: well formed, complete, escaped, small, and equal to its document."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from documents import make_document, make_sound

from phoneme_moe.report.page.plots import plain
from phoneme_moe.report.page.render import render_page
from phoneme_moe.report.page.section_speakers import MOST_SPEAKERS
from phoneme_moe.report.page.template import data_text

pytestmark = pytest.mark.slow

VOID = {"meta", "link", "br", "col", "img", "hr", "input", "circle", "rect"}
MEGABYTES = 4_000_000
EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>\u2028 & \'"/ שלום $$x$$'
#: Keys that may be null or not there, and a heading that goes with them.
OPTIONAL: dict[str, str | None] = {
    "weight_intervals": None,
    "adjusted_weights": "adjusted for phonemes",
    "clustering": "Tree: speakers",
    "mixing": "Mixing or switching",
    "contribution": "Contribution",
    "tests": "Significance",
    "edges": "Boundary and steady",
    "correctness": "Correct and wrong",
    "utterances": "Utterances over time",
    "training": "Load over the epochs",
    "layers": "Agreement between layers",
    "cost": "Cost",
    "verdict": None,
    "missing": "Not in this report",
}


class Page(HTMLParser):
    """Checks that every element is closed where it should be; collects what tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: list[list[list[str]]] = []
        self.scopes: list[str | None] = []
        self.captions: list[str] = []
        self._script: dict[str, str | None] | None = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((named, ""))
        if tag == "table":
            self.tables.append([])
        if tag == "caption":
            self.captions.append("")
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "th":
            self.scopes.append(named.get("scope"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
            return
        self.text += data
        if "caption" in self.open:
            self.captions[-1] += data
        elif {"td", "th"} & set(self.open) and "small" not in self.open:
            # The interval behind a number, set small, is apart.
            self.tables[-1][-1][-1] += data

    def table(self, caption: str) -> list[list[str]]:
        return next(t for t, c in zip(self.tables, self.captions, strict=True) if caption in c)

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]

    def data(self) -> dict[str, Any]:
        """What stands in the data scripts, by id."""
        return {
            attributes["id"] or "": json.loads(text)
            for attributes, text in self.scripts
            if attributes.get("type") == "application/json" and "id" in attributes
        }


@pytest.fixture(scope="module")
def six() -> dict[str, Any]:
    return make_document()


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """Every section, little in each."""
    document = make_document(3, layers=2)
    document["utterances"] = document["utterances"][:1]
    return document


@pytest.fixture(scope="module")
def many() -> dict[str, Any]:
    return make_document(125, 64)


@pytest.fixture(scope="module")
def whole(six: dict[str, Any]) -> Page:
    return Page(render_page(six, {six["utterances"][0]["utterance"]: make_sound()}))


def test_sections_come_in_the_order_of_the_questions(whole: Page) -> None:
    wanted = ["verdict", "speakers", "phonemes", "statistics", "time", "training", "cost"]
    assert [i for i in whole.ids if i in wanted] == wanted
    assert len(whole.ids) == len(set(whole.ids))
    assert set(whole.values("aria-labelledby")) <= set(whole.ids)
    hrefs = [link for link in whole.values("href") if link.startswith("#")]
    assert {link[1:] for link in hrefs} <= set(whole.ids)


def test_page_reaches_nothing_outside_and_runs_only_its_own_scripts(whole: Page) -> None:
    files = {link for link in whole.values("href") if not link.startswith(("#", "data:"))}
    assert files == {f"routing.{kind}" for kind in ("json", "csv", "parquet", "svg", "png")}
    assert all(source.startswith("data:audio/wav;base64,") for source in whole.values("src"))
    assert not [name for name, _ in whole.attributes if name.startswith("on")]
    assert not [style for style in whole.values("style") if "url(" in style]
    policy = next(value for value in whole.values("content") if "default-src" in value)
    assert "default-src 'none'" in policy
    run = [text for attributes, text in whole.scripts if attributes.get("type") is None]
    for script in run:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == len(run)
    assert "unsafe" not in policy.split("script-src")[1]


def test_every_figure_has_a_label_and_a_table_with_scopes(whole: Page) -> None:
    drawn = whole.values("data-plot")
    assert len(drawn) >= 15
    assert whole.values("role").count("img") == len(drawn)
    assert all(whole.values("aria-label"))
    assert len(whole.captions) == len(whole.tables)
    assert all(whole.captions)
    assert set(whole.scopes) == {"col", "row"}


def test_tables_say_what_the_document_says(six: dict[str, Any], whole: Page) -> None:
    by_speaker = {row[0]: row[1:] for row in whole.table("with 95 % interval")[1:]}
    columns = whole.table("with 95 % interval")[0][1:]
    for speaker, weights in zip(six["speakers"], six["weights"], strict=True):
        wanted = [f"{100 * weights[six['experts'].index(name)]:.1f}" for name in columns]
        assert [cell.strip() for cell in by_speaker[speaker]] == wanted
    phonemes = {row[0]: row[1:] for row in whole.table("Mean gate weight in %")[1:]}
    assert set(by_speaker) == {*six["speakers"], "all speakers"}
    assert phonemes
    tests = whole.table("Benjamini")[1:]
    assert [float(row[1].replace("−", "-")) for row in tests] == [
        pytest.approx(test["value"], abs=5e-4) for test in six["tests"]
    ]
    assert [row[-1] == "significant" for row in tests] == [
        test["significant"] for test in six["tests"]
    ]
    removal = whole.table("Error rate without each expert")[1:]
    assert [row[1] for row in removal] == [
        f"{100 * one['error_rate']:.1f}" for one in six["contribution"]["removal"]
    ]
    cost = dict(whole.table("Size and cost")[1:])
    assert cost["active parameters"] == f"{six['cost']['active_parameters']:,}"


def test_figures_hold_what_the_document_holds(six: dict[str, Any], whole: Page) -> None:
    """Every Bokeh document parses; the tables' numbers are those of the cells."""
    data = whole.data()
    figures = {key.removesuffix("-data") for key in data if key.endswith("-data")}
    assert set(whole.ids) >= figures
    text = json.dumps(data["heat-speakers-data"])
    for name in six["speakers"]:
        assert name in text
    # Names are data: no tooltip is made of them.
    templates = re.findall(r'"tooltips": "((?:[^"\\]|\\.)*)"', json.dumps(data))
    assert len(templates) > 8
    for template in templates:
        assert not any(name in template for name in six["speakers"])


@pytest.mark.parametrize("key", OPTIONAL)
def test_a_section_that_is_null_is_left_out(key: str, small: dict[str, Any]) -> None:
    body = Page(render_page(small | {key: None})).text.rsplit("Terms", 1)[0]
    heading = OPTIONAL[key]
    if heading:
        assert heading not in body


def test_every_heading_of_an_optional_section_is_on_the_whole_page(whole: Page) -> None:
    for heading in OPTIONAL.values():
        assert heading is None or heading in whole.text


def test_a_document_of_nothing_but_means_is_a_page(six: dict[str, Any]) -> None:
    document = {k: v for k, v in six.items() if k not in OPTIONAL}
    page = Page(render_page(document))
    assert "speakers" in page.ids
    assert "statistics" not in page.ids
    one = make_document(1)
    for key in ("clustering", "adjusted_weights"):
        one[key] = None
    assert "speakers" in Page(render_page(one)).ids
    no_gate = dict.fromkeys(six) | {
        "title": "pooled",
        "missing": ["This run has no gate."],
        "num_rows": 0,
        "num_utterances": 0,
    }
    pooled = Page(render_page(no_gate))
    assert "This run has no gate." in pooled.text
    assert pooled.tables == []


def test_an_utterance_without_phonemes_or_sound_is_shown(six: dict[str, Any]) -> None:
    bare = dict(six["utterances"][0]) | {
        "reference": [],
        "hypothesis": [],
        "error_rate": None,
        "envelope": None,
        "spectrogram": None,
    }
    assert "No audio in this file" in Page(render_page(six | {"utterances": [bare]})).text


def test_a_page_of_tokens_speaks_of_tokens() -> None:
    document = make_document(4) | {"unit": "token"}
    right, wrong = document["utterances"][0], document["utterances"][-1]
    right["error_rate"], wrong["error_rate"] = 0.0, 1.0
    right["seconds"] = 0.15
    document["correctness"]["unjudged"] = 0  # a token is always right or wrong
    wrong["hypothesis"] = wrong["hypothesis"][:1]
    page = Page(render_page(document))
    shown = page.text + " ".join(page.values("aria-label"))
    assert re.findall(r".{20}frame.{20}", shown, re.IGNORECASE) == []
    assert "Tokens over time" in page.text
    assert ", 0.15 s: " in page.text
    assert "recognised correctly" in page.text
    assert f"misrecognised as {wrong['hypothesis'][0]['phoneme']}" in page.text
    assert "error rate 100" not in page.text


def rename(value: Any, new: Callable[[str], str]) -> Any:
    """A document in which every speaker, expert and phoneme bears another name."""
    if isinstance(value, dict):
        return {key: rename(part, new) for key, part in value.items()}
    if isinstance(value, list):
        return [rename(part, new) for part in value]
    return new(value) if isinstance(value, str) else value


def evil_document() -> dict[str, Any]:
    document = make_document()
    names = {*document["speakers"], *document["phonemes"], document["title"]}
    names |= {one["utterance"] for one in document["utterances"]}
    return rename(document, lambda text: f"{EVIL}{text}" if text in names else text)


def test_names_are_shown_and_not_executed(whole: Page) -> None:
    document = evil_document()
    text = render_page(document, {document["utterances"][0]["utterance"]: make_sound()})
    page = Page(text)
    assert page.tags.count("script") == text.count("<script")
    assert page.tags.count("script") == whole.tags.count("script")
    assert "img" not in page.tags
    assert f"{EVIL}mht" in page.text
    assert page.data()["crossing-data"]
    assert json.dumps(f"{EVIL}mht") in json.dumps(page.data()["heat-speakers-data"])


def test_data_cannot_end_its_element() -> None:
    text = str(data_text({"a": EVIL, "b": [b"\x00\xff"]}))
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"a": EVIL, "b": [base64.b64encode(b"\x00\xff").decode()]}


def test_axis_names_are_never_tex() -> None:
    for name in ("$$x$$", r"\[x\]", r"\(x\)"):
        shown = plain(name)
        assert not re.search(r"\$\$|\\\[|\\\(", shown)
        assert shown.replace("\u2060", "") == name


@pytest.mark.parametrize("which", ["six", "many"])
def test_page_stays_under_four_megabytes(which: str, request: pytest.FixtureRequest) -> None:
    assert len(render_page(request.getfixturevalue(which)).encode()) < MEGABYTES


def test_page_of_a_thousand_speakers_shows_the_most_blended() -> None:
    big = make_document(1000, 16)
    for key in ("utterances", "layers", "training", "edges", "correctness"):
        big[key] = None
    text = render_page(big)
    assert len(text.encode()) < MEGABYTES
    assert f"the {MOST_SPEAKERS} speakers" in text
    assert "tree: speakers" not in text


def test_the_same_document_gives_the_same_page(small: dict[str, Any]) -> None:
    assert render_page(small) == render_page(small)
