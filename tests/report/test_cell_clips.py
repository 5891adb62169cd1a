"""From a cell of the report to its sound: clips of every cell, links, a click in Chromium."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.errors import ArgumentError
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.clips.find import Clip, draw_of_cells
from phoneme_moe.report.page.cell_links import cell_links
from phoneme_moe.report.run import report_run
from phoneme_moe.run_folder import LoadedRun

EXPERTS = ("x", "y")


def clip(speaker: str, phoneme: str, expert: int, number: int) -> Clip:
    weights = np.eye(2, dtype=np.float32)[expert]
    return Clip(f"u{number}", speaker, phoneme, 0.0, 0.1, 1, weights, phoneme)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("iu"), st.integers(0, 1)), max_size=40
    ),
    st.integers(1, 4),
)
def test_every_cell_has_clips_up_to_the_limit(kinds: list[tuple[str, str, int]], most: int) -> None:
    clips = [clip(*kind, number) for number, kind in enumerate(kinds)]
    drawn, cells = draw_of_cells(clips, EXPERTS, most)
    for of, at in (("speaker", 0), ("phoneme", 1)):
        there = Counter((kind[at], EXPERTS[kind[2]]) for kind in kinds)
        chosen = Counter((getattr(one, of), EXPERTS[one.expert]) for one in drawn)
        for cell, number in there.items():
            assert chosen[cell] >= min(most, number)
            assert (of, *cell) in cells
        assert {cell[1:] for cell in cells if cell[0] == of} == set(there)
    assert len({one.utterance for one in drawn}) == len(drawn) <= len(clips)


def test_links_name_row_and_expert() -> None:
    links = cell_links("speaker", ["ann", "b o"], ["x", "y"], {("speaker", "b o", "y")})
    assert links[0] == ["", ""]
    assert links[1][0] == ""
    assert unquote(links[1][1]) == 'clips/index.html#speaker="b o" expert="y"'
    assert cell_links("speaker", ["ann"], ["x"], ()) == []


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_linked_cells_have_their_clips_beside_the_page(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    report_run(trained.run, out=tmp_path, clips=2)
    page = (tmp_path / "report.html").read_text()
    cards = [
        {name: unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', card)}
        for card in re.findall(
            r"<li class=\"card\"[^>]*>", (tmp_path / "clips/index.html").read_text()
        )
    ]
    assert all((tmp_path / "clips" / card["file"]).is_file() for card in cards)
    targets = {unescape(t) for t in re.findall(r'href="(clips/index\.html#[^"]*)"', page)}
    assert targets
    for target in targets:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', unquote(target.partition("#")[2])))
        fitting = [card for card in cards if wanted.items() <= card.items()]
        assert fitting, target
    # Again: the folder of clips is replaced; without clips the page has no links.
    report_run(trained.run, out=tmp_path, clips=1)
    report_run(trained.run, out=tmp_path)
    assert "clips/index.html" not in (tmp_path / "report.html").read_text()


def test_a_stored_report_has_no_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phoneme_moe.run_folder import load_run

    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path))
    run: LoadedRun = load_run("english")
    with pytest.raises(ArgumentError, match="clips: the corpora of the run are not prepared"):
        report_run(run, out=tmp_path / "report", clips=1)


@pytest.mark.slow
def test_a_click_on_a_cell_opens_its_clips(
    chromium: Any, recognized: Trained, tmp_path: Path
) -> None:
    report_run(recognized.run, out=tmp_path, clips=3)
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(BROWSER_PATIENCE_MS)
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("#heat-speakers").scroll_into_view_if_needed()
    page.wait_for_selector("#heat-speakers[data-drawn]")
    cell = """() => {
      const {models, view} = plots.get("heat-speakers");
      const source = models.find((model) => model.name === "cells");
      const clips = source.tags.find((tag) => tag.clips).clips;
      const index = clips.findIndex((link) => link), data = columns(source);
      const frame = view.frame, box = view.el.getBoundingClientRect();
      return {x: box.left + frame.x_scale.compute(data.x[index]),
              y: box.top + frame.y_scale.compute(data.y[index]), link: clips[index]};
    }"""
    place = page.evaluate(cell)
    with page.expect_popup() as opened:
        page.mouse.click(place["x"], place["y"])
    clips = opened.value
    clips.set_default_timeout(BROWSER_PATIENCE_MS)
    clips.wait_for_selector(".card:visible")
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', unquote(place["link"].partition("#")[2])))
    shown = clips.locator(".card:visible")
    assert 1 <= shown.count() <= clips.locator(".card").count()
    for number in range(shown.count()):
        for name, value in wanted.items():
            assert shown.nth(number).get_attribute(f"data-{name}") == value
    # In the table the same cell is a link.
    assert page.locator(f"a[href='{place['link']}']").count() >= 1
    page.close()
