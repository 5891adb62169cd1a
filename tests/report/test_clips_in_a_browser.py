"""The page of clips as a person meets it: headless Chromium, opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_browser import until
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.pipeline import Trained
from phoneme_moe.report.clips.find import ClipQuery
from phoneme_moe.report.clips.run import clips_of_run

#: Clips are short: at an eighth of their speed none is over before a busy machine has looked.
SLOWLY = """
const {get, set} = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "playbackRate");
Object.defineProperty(HTMLMediaElement.prototype, "playbackRate", {
  get, set(rate) { set.call(this, rate / 8); },
});
"""


def test_clips_play_and_are_found(chromium: Any, recognized: Trained, tmp_path: Path) -> None:
    done = clips_of_run(recognized.run, ClipQuery(), out=tmp_path / "clips", limit=12)
    for width in (1280, 390):
        page = chromium.new_page(viewport={"width": width, "height": 800})
        page.set_default_timeout(BROWSER_PATIENCE_MS)
        page.add_init_script(SLOWLY)
        requests: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.on("console", lambda message, seen=complaints: seen.append(message.text))
        page.on("pageerror", lambda error, seen=complaints: seen.append(str(error)))
        page.goto(done.page.as_uri())
        assert page.locator(".card").count() == 12
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        # A click plays, the cursor moves, and it ends by itself.
        first = page.locator(".card").first
        first.get_by_role("button").click()
        until(page, "Number(document.querySelector('.playing .cursor')?.getAttribute('x1')) > 5")
        until(page, "!document.querySelector('.playing')")

        # The arrow goes to the next, space plays it, escape stops.
        page.locator("h1").click()
        page.keyboard.press("ArrowRight")
        second = page.locator(".card").nth(1)
        assert second.locator(".play").evaluate("button => button === document.activeElement")
        page.keyboard.press("Space")
        page.wait_for_selector(".card.playing")
        assert "playing" in second.get_attribute("class")
        page.keyboard.press("Escape")
        assert page.locator(".playing").count() == 0

        # The filter leaves what was asked for, and all that is left plays in its order.
        speaker, phoneme = done.clips[-1].speaker, done.clips[-1].phoneme
        fitting = [c for c in done.clips if (c.speaker, c.phoneme) == (speaker, phoneme)]
        page.get_by_role("searchbox").fill(f"{speaker} phoneme={phoneme}")
        shown = page.locator(".card:visible")
        assert shown.count() == len(fitting)
        assert page.get_by_role("status").inner_text() == f"{len(fitting)} of 12 clips"
        page.get_by_label("Speed").select_option("0.5")
        page.get_by_role("button", name="Play all").click()
        page.wait_for_selector(".card.playing")
        assert "playing" in shown.first.get_attribute("class")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("searchbox").fill("nothing-of-the-kind")
        assert page.get_by_text("No clip matches the filter.").is_visible()

        assert complaints == []
        assert requests
        assert all(url.startswith("file://") for url in requests)
        page.close()
