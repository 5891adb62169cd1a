"""The comparison as a person meets it: headless Chromium, opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import fresh_run
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import Recipe
from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.report.compare.page import render_comparison
from phoneme_moe.report.compare.run import compare_runs


def test_the_page_is_silent_and_fits_every_screen(
    chromium: Any, recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    other = fresh_run(tmp_path / "other", recognize_recipe)
    document = compare_runs(recognized.run, other, out=tmp_path / "out").document.model_dump(
        mode="json"
    )
    long = "a_name_that_is_much_longer_than_any_column_of_a_table_on_a_telephone"
    for one in (*document["error_rate"]["by_speaker"], *document["routing_by_speaker"]):
        one["speaker"] = f"{long}<img src=x onerror=alert(1)>"
    for one in document["utterances"]:
        one["utterance"] = f"{long}/{long}"
    file = tmp_path / "comparison.html"
    file.write_text(render_comparison(ComparisonDocument.model_validate(document)))
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            context = chromium.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme
            )
            page = context.new_page()
            page.set_default_timeout(BROWSER_PATIENCE_MS)
            requests: list[str] = []
            messages: list[str] = []
            page.on("request", lambda request, requests=requests: requests.append(request.url))
            page.on("console", lambda message, messages=messages: messages.append(message.text))
            page.on("pageerror", lambda error, messages=messages: messages.append(str(error)))
            page.on("dialog", lambda dialog, messages=messages: messages.append(dialog.message))
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert (requests, messages) == ([file.as_uri()], [])
            assert page.locator("img").count() == 0
            assert page.locator("main h2").all_text_contents()[1:5] == [
                "2Error rate by speaker",
                "3Matched experts",
                "4Agreement of routing",
                "5Routing by speaker",
            ]
            # Partners lie on the diagonal, one in each row that has one.
            pairs = len(document["matching"]["pairs"])
            assert page.locator(".heat .outlined").count() == pairs
            strips = page.locator(".strips")
            assert strips.count() == len(document["utterances"])
            boxes = strips.first.locator("> span").all()
            tops = [box.bounding_box()["y"] for box in boxes]
            assert tops[0] == pytest.approx(tops[1], abs=12)
            # The tables can be reached and read without a mouse.
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            for region in page.locator(".scroll").all():
                assert region.get_attribute("tabindex") == "0"
            context.close()
