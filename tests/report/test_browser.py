"""The page in a real browser: drawn, alive, silent on console and network, for every reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import make_document, make_sound
from test_report_page import evil_document
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.report.page.render import render_page

#: Of the page's event loop, at least 20 ms each, in which what is waited for must have happened.
TURNS = 1000
#: Scrolls through the page so that every plot comes into view.
SCROLL = """async () => {
  document.documentElement.style.scrollBehavior = "auto";
  const plots = [...document.querySelectorAll("[data-plot]")].filter((p) => !p.closest("[hidden]"));
  for (const plot of plots) {
    plot.scrollIntoView();
    for (let i = 0; i < 100 && plot.dataset.drawn === undefined; i++)
      await new Promise((done) => setTimeout(done, 50));
  }
  scrollTo(0, 0);
  return plots.filter((plot) => plot.dataset.drawn === undefined).map((plot) => plot.id);
}"""
SPEAKERS_IN_VIEW = """document.getElementById("heat-speakers").scrollIntoView(
  {block: "nearest", behavior: "instant"})"""
#: Share of pixels with colour on the canvases inside an element; shadow roots are looked into.
INKED = """(id) => {
  const nodes = [];
  const walk = (node) => {
    if (node.tagName === "CANVAS" && node.width * node.height > 0) nodes.push(node);
    for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) walk(child);
  };
  walk(document.getElementById(id));
  let inked = 0, all = 0;
  for (const canvas of nodes) {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 3; i < data.length; i += 4) { inked += data[i] > 0; all += 1; }
  }
  return all ? inked / all : 0;
}"""
TOOLTIP = """() => {
  const nodes = [];
  const walk = (node) => {
    if (node.classList?.contains("bk-Tooltip")) nodes.push(node);
    for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) walk(child);
  };
  walk(document.body);
  const shown = nodes.filter((tip) => tip.getBoundingClientRect().width > 0);
  const inside = (tip) => (tip.shadowRoot ?? tip).querySelector(".bk-tooltip-content");
  return shown.map((tip) => inside(tip).textContent).join(" ");
}"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of six speakers, of names that try to run, and of 125 speakers and 64 experts."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {}
    for name, document in (
        ("six", make_document()),
        ("evil", evil_document()),
        ("many", make_document(125, 64)),
    ):
        sounds = {one["utterance"]: make_sound() for one in document["utterances"]}
        pages[name] = folder / f"{name}.html"
        pages[name].write_text(render_page(document, sounds), encoding="utf-8")
    return pages


def until(page: Any, code: str) -> None:
    """Wait for an expression to become true; the page's policy forbids Playwright's own way.

    It is given up after so many turns of the page's own event loop, not by the clock: on a busy
    machine they take longer, as all does that the page has to do.
    """
    for _ in range(TURNS):
        if page.evaluate(code):
            return
        page.evaluate("new Promise((turn) => setTimeout(turn, 20))")
    raise AssertionError(code)


class Visit:
    """A page that is open, with its messages and requests."""

    def __init__(
        self,
        chromium: Any,
        file: Path,
        width: int = 1280,
        scheme: str = "light",
        before: str = "",
    ) -> None:
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.context.set_default_timeout(BROWSER_PATIENCE_MS)
        self.page = self.context.new_page()
        self.page.add_init_script(before)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: self.messages.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        # A plot is drawn when it comes near the screen; long names on a narrow one push it away.
        self.page.evaluate(SPEAKERS_IN_VIEW)
        self.page.wait_for_selector("#heat-speakers[data-drawn]", state="attached")
        self.page.evaluate("scrollTo({top: 0, behavior: 'instant'})")

    def until(self, code: str) -> None:
        until(self.page, code)

    def network(self) -> list[str]:
        """Requests besides the file itself and data inside it."""
        return [url for url in self.requests[1:] if not url.startswith("data:")]

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def visit(chromium: Any, files: dict[str, Path]) -> Iterator[Visit]:
    one = Visit(chromium, files["six"])
    yield one
    one.context.close()


@pytest.mark.slow
def test_every_plot_is_drawn_without_messages_and_without_network(visit: Visit) -> None:
    assert visit.page.evaluate(SCROLL) == []
    shown = visit.page.eval_on_selector_all(
        "[data-plot][data-drawn]", "all => all.map((one) => one.id)"
    )
    assert len(shown) >= 14
    visit.until("Bokeh.documents.every((one) => one.is_idle)")
    for name in shown:
        visit.until(f"({INKED})({name!r}) >= 0.002")
    assert visit.messages == []
    assert visit.network() == []


def test_the_first_view_waits_for_no_plot_that_is_far_below(
    chromium: Any, files: dict[str, Path]
) -> None:
    # Never idle: only what comes near the screen is drawn.
    one = Visit(chromium, files["six"], before="window.requestIdleCallback = () => {}")
    one.until("Bokeh.documents.every((one) => one.is_idle)")
    far = one.page.eval_on_selector_all(
        "[data-plot]",
        """all => all.filter((one) => one.getBoundingClientRect().top > 4 * innerHeight)
          .map((one) => one.dataset.drawn ?? null)""",
    )
    assert len(far) > 5
    assert set(far) == {None}
    one.context.close()


def test_hover_tells_weight_interval_and_counts(visit: Visit) -> None:
    visit.page.locator("#heat-speakers").scroll_into_view_if_needed()
    box = visit.page.locator("#heat-speakers").bounding_box()
    visit.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.3 * box["height"])
    visit.page.mouse.move(box["x"] + 0.28 * box["width"], box["y"] + 0.4 * box["height"])
    visit.until(f"({TOOLTIP})().includes('95 % interval')")
    tooltip = visit.page.evaluate(TOOLTIP)
    for part in ("expert", "weight", "frames", "utterances"):
        assert part in tooltip
    assert "NaN" not in tooltip
    assert "???" not in tooltip


def test_filter_narrows_figure_and_tables(visit: Visit) -> None:
    height = "document.getElementById('heat-speakers').offsetHeight"
    before = visit.page.evaluate(height)
    visit.page.get_by_label("Filter speakers").fill("M")
    assert visit.page.locator("#speaker-count").inner_text() == "2 of 6 shown"
    visit.until(f"{height} < {before} - 100")
    assert visit.page.locator("#numbers tbody tr:not([hidden])").count() == 2
    drawn = "columns(plots.get('heat-speakers').models.find((m) => m.name === 'cells')).y"
    assert visit.page.evaluate(f"[...{drawn}].filter((y) => !Number.isNaN(y)).length") == 12
    visit.page.get_by_label("Filter speakers").fill("")
    visit.until(f"{height} === {before}")


def test_switch_shows_the_adjusted_weights(visit: Visit) -> None:
    shown = "[...columns(plots.get('heat-speakers').models.find((m) => m.name === 'cells')).{}]"
    visit.page.get_by_label("adjusted for phonemes").check()
    assert visit.page.evaluate(shown.format("weight")) == visit.page.evaluate(
        shown.format("weight_adjusted")
    )
    visit.page.get_by_label("observed").check()
    assert visit.page.evaluate(shown.format("weight")) == visit.page.evaluate(
        shown.format("weight_raw")
    )


def test_phonemes_of_one_speaker(visit: Visit) -> None:
    document = make_document()
    visit.page.get_by_label("Speaker", exact=True).select_option("mht")
    rows = visit.page.eval_on_selector_all(
        "#phoneme-table tr", "rows => rows.map((r) => [...r.cells].map((c) => c.textContent))"
    )
    speaker = document["speakers"].index("mht")
    for row in rows[1:]:
        weights = document["speaker_phoneme_weights"][speaker][document["phonemes"].index(row[0])]
        for name, cell in zip(rows[0][1:-1], row[1:-1], strict=True):
            wanted = 100 * weights[document["experts"].index(name)]
            assert float(cell) == pytest.approx(wanted, abs=0.26)
    visit.page.get_by_label("Speaker", exact=True).select_option("all speakers")


@pytest.mark.slow
def test_sound_plays_and_the_cursor_is_in_step(visit: Visit) -> None:
    player = visit.page.locator("[data-player]").first
    player.scroll_into_view_if_needed()
    player.locator("[data-drawn]").wait_for()
    cursor = player.locator(".cursor")
    player.get_by_role("button", name="Play").click()
    visit.until("Number(document.querySelector('.cursor').dataset.time) > 0.3")
    # In a frame of the page, after it has moved the cursor: a slow machine draws fewer of them.
    apart = visit.page.evaluate(
        """new Promise((done) => requestAnimationFrame(() => done(Math.abs(
          document.querySelector('[data-player] audio').currentTime
          - Number(document.querySelector('.cursor').dataset.time)))))"""
    )
    assert apart < 0.2
    player.get_by_role("button", name="Pause").click()
    # A click in the middle plays from there; slowly, so that it is not over before the next key.
    visit.page.evaluate("document.querySelector('[data-player] audio').playbackRate = 0.0625")
    stage = player.locator("[data-plot]").bounding_box()
    visit.page.mouse.click(stage["x"] + 58 + (stage["width"] - 68) / 2, stage["y"] + 100)
    visit.until("!document.querySelector('[data-player] audio').paused")
    player.locator(".stage").press("Space")
    visit.until("document.querySelector('[data-player] audio').paused")
    now = float(cursor.get_attribute("data-time") or 0)
    assert 1.2 <= now < 2.4
    middle = cursor.bounding_box()["x"] + 1 - stage["x"] - 58
    assert middle / (stage["width"] - 68) == pytest.approx(now / 2.4, abs=0.01)
    player.locator(".stage").press("ArrowLeft")
    assert float(cursor.get_attribute("data-time") or 0) == pytest.approx(now - 0.05, abs=0.02)
    player.locator(".stage").press("Home")
    assert cursor.get_attribute("data-time") == "0.000"
    assert "bits" in player.locator(".readout").inner_text()


def test_zoom_keeps_the_cursor_on_its_time(visit: Visit) -> None:
    player = visit.page.locator("[data-player]").first
    player.get_by_role("button", name="Zoom in").click()
    span = "(({start, end}) => end - start)(plots.get('time-0').root.children[0].x_range)"
    assert visit.page.evaluate(span) == pytest.approx(1.2)
    player.locator(".stage").press("End")
    assert visit.page.evaluate("plots.get('time-0').root.children[0].x_range.end") == 2.4
    player.get_by_role("button", name="whole").click()
    assert visit.page.evaluate(span) == pytest.approx(2.4)


def test_another_utterance_can_be_chosen(visit: Visit) -> None:
    visit.page.get_by_label("Utterance", exact=True).select_option(index=1)
    second = visit.page.locator("#utterance-panel-1")
    second.locator("[data-drawn]").wait_for()
    assert visit.page.evaluate(INKED, "time-1") > 0.1
    assert not visit.page.locator("#utterance-panel-0").is_visible()
    visit.page.get_by_label("Utterance", exact=True).select_option(index=0)


def test_keyboard_reaches_every_control_with_visible_focus(chromium: Any, files: Any) -> None:
    one = Visit(chromium, files["six"])
    one.page.evaluate(SCROLL)
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.className") == "skip"
    reached, outlined = set(), True
    for _ in range(160):
        name, outline = one.page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
              return [e.id || e.className || e.tagName + e.type + (e.dataset.zoom ?? ""),
                      s.outlineStyle !== "none" || e.type === "radio"]; }"""
        )
        if name.startswith("BODY"):
            break
        outlined = outlined and outline
        reached.add(name)
        one.page.keyboard.press("Tab")
    assert outlined
    assert {"speaker-filter", "crossing", "play", "stage"} <= reached
    assert any("radio" in name for name in reached)
    assert any("range" in name for name in reached)
    one.context.close()


@pytest.mark.parametrize("name", ["six", "evil", "many"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(
    chromium: Any, files: dict[str, Path], name: str, width: int
) -> None:
    one = Visit(chromium, files[name], width)
    one.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert one.overflow() <= 0
    assert one.messages == []
    assert one.network() == []
    one.context.close()


def test_dark_readers_get_a_dark_page_and_light_ink(chromium: Any, files: dict[str, Path]) -> None:
    one = Visit(chromium, files["six"])
    find = "plots.get('heat-speakers').models.find((m) => m.type === '{}')"
    ink = find.format("LinearAxis") + ".major_label_text_color"
    palette = find.format("LinearColorMapper") + ".palette[0]"
    paper = "getComputedStyle(document.body).backgroundColor"
    light = [one.page.evaluate(code) for code in (ink, palette, paper)]
    one.page.emulate_media(color_scheme="dark")
    one.until(f"{ink} !== {light[0]!r}")
    dark = [one.page.evaluate(code) for code in (ink, palette, paper)]
    assert all(before != after for before, after in zip(light, dark, strict=True))
    again = Visit(chromium, files["six"], scheme="dark")
    assert [again.page.evaluate(code) for code in (ink, palette, paper)] == dark
    again.context.close()
    one.context.close()


def test_names_that_try_to_run_do_not(chromium: Any, files: dict[str, Path]) -> None:
    one = Visit(chromium, files["evil"])
    assert one.page.evaluate(SCROLL) == []
    one.page.locator("#heat-speakers").scroll_into_view_if_needed()
    box = one.page.locator("#heat-speakers").bounding_box()
    one.page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 0.4 * box["height"])
    one.page.mouse.move(box["x"] + 0.36 * box["width"], box["y"] + 0.42 * box["height"])
    one.until(f"({TOOLTIP})().includes('alert')")
    one.page.get_by_label("Filter speakers").fill("<script>")
    assert one.page.locator("#speaker-count").inner_text() == "6 of 6 shown"
    assert one.messages == []
    assert one.network() == []
    one.context.close()


def test_all_figures_are_on_paper(chromium: Any, files: dict[str, Path]) -> None:
    """Without scrolling: they are drawn after the page has loaded, and printed as they are."""
    visit = Visit(chromium, files["six"])
    plots = (
        """[...document.querySelectorAll("[data-plot]")].filter((p) => !p.closest("[hidden]"))"""
    )
    visit.until(f"{plots}.every((plot) => plot.dataset.drawn !== undefined)")
    number = visit.page.evaluate(f"{plots}.length")
    assert number >= 15
    paper = visit.page.pdf(print_background=True)
    # Every figure has two canvases or more, and each is an image and its mask.
    assert len(re.findall(rb"/Subtype ?/Image", paper)) >= 4 * number
    visit.context.close()


def test_on_a_narrow_screen_the_contents_follow_and_nothing_is_said_of_what_is_not_shown(
    chromium: Any, files: dict[str, Path]
) -> None:
    visit = Visit(chromium, files["six"], width=390)
    visit.page.evaluate("document.getElementById('cost').scrollIntoView({behavior: 'instant'})")
    visit.until(
        """(() => {
          const link = document.querySelector(".contents a[aria-current]");
          if (!link) return false;  // not yet
          const {left, right} = link.getBoundingClientRect();
          return link.hash === "#cost" && left >= 0 && right <= innerWidth;
        })()"""
    )
    shown = visit.page.evaluate(
        "[...document.querySelectorAll('.beside')].map((note) => getComputedStyle(note).display)"
    )
    assert shown
    assert set(shown) == {"none"}
    visit.context.close()
