"""The page in a real browser, whose microphone plays a file: each view as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import tiny
from browsers import headless_browser
from serve_process import Process
from serve_sound import wav
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.labels.textgrid import read_textgrid
from phoneme_moe.pipeline import Trained

pytestmark = pytest.mark.slow

#: Of the page's event loop, at least 20 ms each, in which what is waited for must have happened.
TURNS = 3000
SPOKEN = ["a", "s", "i", "m", "a", "s", "i", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings to choose, and what the microphone hears."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(3):
        (folder / f"word {number}.wav").write_bytes(wav(SPOKEN, "dan", number))
    samples, _ = tiny.speak(SPOKEN * 3, "ann", np.random.default_rng(1))
    soundfile.write(folder / "microphone.wav", soxr.resample(samples, tiny.RATE, 48_000), 48_000)
    (folder / "words.dict").write_text("assi a s i\nmasia m a s i a\n")
    return folder


@pytest.fixture(scope="module")
def chromium(folder: Path) -> Iterator[Any]:
    switches = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}",
    )
    with headless_browser(switches) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(
    recognized: Trained, sparse: Trained, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    process = Process(
        str(recognized.run.folder),
        str(sparse.run.folder),
        "--lexicon",
        str(folder / "words.dict"),
        "--keep",
        str(tmp_path_factory.mktemp("kept")),
    )
    assert process.address is not None
    yield process.address
    process.kill()


class Visit:
    """A page of the server that is open, with its messages and requests."""

    def __init__(self, chromium: Any, address: str, path: str, width: int, scheme: str) -> None:
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            permissions=["microphone", "clipboard-read", "clipboard-write"],
            accept_downloads=True,
        )
        self.context.set_default_timeout(BROWSER_PATIENCE_MS)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: self.messages.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.goto(address + path)
        self.page.wait_for_selector("body[data-ready]")

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "blob:", "data:")):
            self.foreign.append(url)

    def until(self, done: Callable[[], Any]) -> None:
        """Waits for the page; given up after so many turns of its event loop, not by the clock."""
        for _ in range(TURNS):
            if done():
                return
            self.page.evaluate("new Promise((turn) => setTimeout(turn, 20))")
        raise AssertionError(self.page.inner_text("body"))

    def until_said(self, words: str) -> None:
        self.until(lambda: words in self.page.inner_text("#status"))

    def view(self, name: str) -> None:
        self.page.click(f'.contents a[href="#{name}"]')
        self.until(lambda: self.page.url.partition("#")[2].partition("?")[0] == name)

    def choose(self, *files: Path) -> None:
        self.page.set_input_files("#choose", files)
        shown = "workbench.inspection && workbench.recording.name"
        self.until(lambda: self.page.evaluate(shown) == files[0].name)

    def phonemes(self) -> list[str]:
        return self.page.eval_on_selector_all(
            "#lane-phonemes button", "all => all.map((one) => one.textContent)"
        )

    def selected(self) -> str:
        """What a screen reader says of the selected phoneme."""
        return str(self.page.get_attribute("#lane-phonemes .selected", "aria-label"))

    def download(self, name: str) -> Path:
        with self.page.expect_download() as caught:
            self.page.click(f"button:text-is('{name}')")
        return Path(caught.value.path())

    def close(self) -> None:
        """Nothing was said on the console, nothing came from elsewhere, nothing stands out."""
        overflow = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        self.context.close()
        assert self.messages == []
        assert self.foreign == []
        assert overflow <= 0


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def open_page(path: str = "/#file", width: int = 1280, scheme: str = "light") -> Visit:
        visits.append(Visit(chromium, address, path, width, scheme))
        return visits[-1]

    yield open_page
    for one in visits:
        one.close()


def test_file_shows_phonemes_plays_them_and_gives_them_away(
    visit: Callable[..., Visit], folder: Path, address: str
) -> None:
    one = visit()
    one.choose(folder / "word 0.wav", folder / "word 1.wav")
    expected = one.page.evaluate("workbench.inspection.transcript.phonemes")
    one.until(lambda: [text for text in one.phonemes() if text] == expected)
    assert len(expected) > 0
    assert one.page.inner_text(".transcripts") == " ".join(expected)
    one.page.locator("#lane-phonemes button").nth(1).click()
    assert one.selected().startswith(f"{expected[1]}, ")
    one.until(lambda: one.page.evaluate("workbench.timeline.wave.getCurrentTime()") > 0)
    one.page.keyboard.press("ArrowRight")
    one.until(lambda: one.selected().startswith(f"{expected[2]}, "))
    grid = one.download("TextGrid").read_text()
    assert [line for line in grid.splitlines() if 'name = "phonemes"' in line]
    document = json.loads(one.download("JSON").read_text())
    assert document["phonemes"] == expected
    assert one.download("CTM").read_text().count("\n") == len(expected)
    one.page.locator("summary").click()
    assert one.page.locator("tbody tr").count() == len(expected)
    one.page.select_option("#files", "1")
    one.until_said("word 1.wav: ")


def test_every_view_fits_a_phone(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit(width=390, scheme="dark")
    one.choose(folder / "word 0.wav")
    overflow = "document.documentElement.scrollWidth - innerWidth"
    one.page.locator("#lane-phonemes button").nth(1).click()
    one.view("what-if")
    one.page.click("button[aria-label='ann is on']")
    one.until(lambda: "→ 0 %" in one.page.inner_text(".experts"))
    assert one.page.evaluate(overflow) <= 0
    one.view("say")
    one.page.fill("#say-text", "assi masia")
    one.page.click("button:text-is('Align')")
    one.until_said("8 phonemes aligned.")
    assert one.page.evaluate(overflow) <= 0
    one.view("correct")
    one.page.locator("#lane-phonemes button").nth(0).click()
    one.page.click("button:text-is('Add to my labelled speech')")
    one.until_said("1 in all")
    assert one.page.evaluate(overflow) <= 0
    one.view("who")
    one.until(lambda: "The speaker who is routed most like you is" in one.page.inner_text("#panel"))
    assert one.page.evaluate(overflow) <= 0
    one.view("live")
    one.page.click("button:text-is('Start the microphone')")
    one.until(lambda: len(one.page.inner_text(".running").split()) >= 3)


def test_zooming_shows_less_and_all_again(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit()
    one.choose(folder / "word 0.wav")
    shown = "(([from, to]) => to - from)(workbench.timeline.visible())"
    whole = one.page.evaluate(shown)
    one.page.click("#zoom-in")
    one.until(lambda: one.page.evaluate(shown) < 0.9 * whole)
    one.page.click("#zoom-fit")
    one.until(lambda: one.page.evaluate(shown) == pytest.approx(whole))


def test_a_stretch_is_dragged_and_played(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit()
    one.choose(folder / "word 0.wav")
    one.page.locator("#waveform").scroll_into_view_if_needed()
    box = one.page.locator("#waveform").bounding_box()
    one.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 30)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 30, steps=8)
    one.page.mouse.up()
    one.until(lambda: one.page.evaluate("workbench.timeline.regions.getRegions().length") == 1)
    region = "workbench.timeline.regions.getRegions()[0]"
    duration = one.page.evaluate("workbench.timeline.wave.getDuration()")
    start = one.page.evaluate(f"{region}.start")
    assert start == pytest.approx(0.3 * duration, abs=0.05 * duration)
    one.until(lambda: one.page.evaluate("workbench.timeline.wave.getCurrentTime()") >= start)


def test_what_if_takes_experts_away_and_a_link_brings_that_back(
    visit: Callable[..., Visit], folder: Path
) -> None:
    one = visit("/#what-if")
    one.page.click("#examples-field")
    one.until(lambda: one.page.locator("#examples option").count() > 1)
    one.page.select_option("#examples", index=1)
    one.until(
        lambda: (
            "phoneme" in one.page.inner_text("#status")
            and "changed" in one.page.inner_text("#status")
        )
    )
    one.page.click("button[aria-label='ann is on']")
    one.until(lambda: "→ 0 %" in one.page.inner_text(".experts"))
    assert one.page.locator("button[aria-label='ann is off']").count() == 1
    facts = one.page.inner_text("#panel")
    assert "log-probability of the first transcript" in facts
    assert "errors against the reference" in facts
    one.page.click("button[aria-label='bob alone']")
    one.until(lambda: "→ 100 %" in one.page.inner_text(".experts"))
    assert one.page.evaluate("workbench.timeline.inspection.routing.bob") == 1
    one.page.click("#link")
    one.until_said("copied")
    link = one.page.evaluate("navigator.clipboard.readText()")
    again = visit(link[link.index("/#") :])
    again.until(lambda: "→ 100 %" in again.page.inner_text(".experts"))
    assert again.page.inner_text("#recording-name") == one.page.inner_text("#recording-name")
    again.page.click("button:text-is('Undo all')")
    again.until_said("No phoneme changed.")


def test_what_if_changes_each_layer_of_a_sparse_run(
    visit: Callable[..., Visit], folder: Path, sparse: Trained
) -> None:
    name = sparse.run.folder.name
    one = visit(f"/#what-if?run={name}")
    one.choose(folder / "word 0.wav")
    layers = one.page.evaluate("workbench.run.layers.map((layer) => layer.name)")
    one.until(lambda: one.page.locator("button[aria-label='expert_1 is on']").is_enabled())
    one.page.click("button[aria-label='expert_1 is on']")
    one.until(lambda: f"off={layers[-1]}" in one.page.url)
    one.page.select_option("#layer", layers[0])
    one.until(lambda: f"Also changed: {layers[-1]}" in one.page.inner_text("#panel"))
    one.page.click("button[aria-label='expert_2 is on']")
    one.until(lambda: one.page.url.count("expert_") == 2)
    one.until(lambda: one.page.evaluate("workbench.timeline.inspection.routing.expert_2") == 0)


def test_say_this_scores_every_phoneme_of_a_text(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit("/#say")
    one.choose(folder / "word 0.wav")
    one.page.fill("#say-text", "Assi masia")
    one.page.click("button:text-is('Align')")
    one.until_said("8 phonemes aligned.")
    assert one.page.locator(".chip").count() == 8
    assert [
        text.split("\n")[0].split()[0] for text in one.page.locator(".word").all_inner_texts()
    ] == ["assi", "masia"]
    aligned = ["a", "s", "i", "m", "a", "s", "i", "a"]
    one.until(lambda: [text for text in one.phonemes() if text] == aligned)
    one.page.locator(".chip").nth(2).click()
    assert one.selected().startswith("i, ")
    one.page.fill("#say-text", "zuzu")
    one.page.click("button:text-is('Align')")
    one.until_said("'zuzu' is not in the lexicon")
    assert "error" in one.page.get_attribute("#status", "class")
    # A refused request is the one thing that a browser itself notes.
    one.messages = [text for text in one.messages if "400 (Bad Request)" not in text]


def test_corrections_are_edited_saved_and_learned(
    visit: Callable[..., Visit], folder: Path
) -> None:
    one = visit("/#correct")
    for number in range(3):
        one.choose(folder / f"word {number}.wav")
        one.until(lambda: one.page.locator("#lane-phonemes button").count() > 1)
        one.page.locator("#lane-phonemes button").nth(0).click()
        one.page.select_option(".editor select", "m")
        one.until(lambda: one.phonemes()[0] == "m")
        one.page.click("button:text-is('Add to my labelled speech')")
        one.until_said(f"{number + 1} in all")
    before = one.page.locator("#lane-phonemes button").count()
    one.page.click("button:text-is('Split')")
    one.until(lambda: one.page.locator("#lane-phonemes button").count() == before + 1)
    one.page.fill(".editor input >> nth=1", "0.123")
    one.page.keyboard.press("Tab")
    one.page.click("button:text-is('Delete')")
    one.until(lambda: one.page.locator("#lane-phonemes button").count() == before)
    grid = read_textgrid(one.download("Download as TextGrid"))
    assert grid.tiers[0].intervals[0].label in {"", "m"}
    one.page.fill("input[size='12']", "dan")
    one.page.click("button:text-is('Save on the server')")
    one.until_said("3 utterances saved in ")
    one.page.click("button:text-is('Adapt')")
    one.until(lambda: "held-out utterances" in one.page.inner_text("#panel"))
    assert "recognize_dan" in one.page.inner_text("#panel")
    names = one.page.eval_on_selector_all("#run option", "all => all.map((one) => one.value)")
    assert any(name.startswith("recognize_dan") for name in names)


def test_who_routes_where_shows_the_report_and_the_nearest_speaker(
    visit: Callable[..., Visit], folder: Path
) -> None:
    one = visit("/#who")
    one.choose(folder / "word 0.wav")
    one.until(lambda: "The speaker who is routed most like you is" in one.page.inner_text("#panel"))
    assert one.page.locator(".stacked").count() == 1 + 3
    frame = one.page.frame_locator("iframe")
    frame.locator("h1").wait_for()
    assert "recognize" in frame.locator("h1").inner_text()


def test_live_runs_along_with_the_microphone(visit: Callable[..., Visit]) -> None:
    one = visit("/#live")
    one.page.click("button:text-is('Start the microphone')")
    one.until(lambda: len(one.page.inner_text(".running").split()) >= 5)
    assert set(one.page.inner_text(".running").split()) <= set(tiny.PHONEMES)
    assert one.page.inner_text(".leading").split()[0] in {"ann", "bob", "carol"}
    assert "behind" in one.page.inner_text(".live output")
    inked = """() => [...document.querySelectorAll(".live canvas")].map((canvas) => {
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value, index) => index % 4 === 3 && value > 0);
    })"""
    one.until(lambda: all(one.page.evaluate(inked)))
    one.page.click("button:text-is('Stop')")
    one.until_said("Stopped.")
    one.page.click("button:text-is('Look at it in File')")
    one.until_said("shown after")
    assert one.page.inner_text("#recording-name") == "live.wav"


def test_a_file_is_played_into_live(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit("/#live")
    one.page.set_input_files(".live input[type=file]", folder / "word 0.wav")
    one.until_said("Stopped.")
    assert len(one.page.inner_text(".running").split()) >= 3


def test_a_recording_of_the_microphone_is_kept_for_a_link(visit: Callable[..., Visit]) -> None:
    one = visit()
    one.page.click("#record")
    one.until(lambda: "Stop (1." in one.page.inner_text("#record"))
    one.page.click("#record")
    one.until_said("shown after")
    one.page.click("#link")
    one.until_said("copied")
    link = one.page.evaluate("navigator.clipboard.readText()")
    assert "recording=" in link
    again = visit(link[link.index("/#") :])
    again.until_said("shown after")


def test_the_keyboard_reaches_everything(visit: Callable[..., Visit], folder: Path) -> None:
    one = visit()
    one.choose(folder / "word 0.wav")
    one.page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(40):
        one.page.keyboard.press("Tab")
        reached.add(
            one.page.evaluate(
                "document.activeElement.id || document.activeElement.hash || "
                "document.activeElement.parentElement.id || document.activeElement.textContent"
            )
        )
    expected = {"#live", "#say", "choose", "record", "play", "zoom-in", "lane-phonemes", "TextGrid"}
    assert expected <= reached
    unnamed = one.page.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas, iframe")].filter((one) =>
          one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_a_name_cannot_become_markup(
    visit: Callable[..., Visit], folder: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>.wav"
    evil.write_bytes((folder / "word 0.wav").read_bytes())
    one = visit()
    one.choose(evil)
    assert one.page.inner_text("#recording-name") == evil.name
    assert one.page.locator("#recording-name img").count() == 0


def test_the_interface_is_documented_on_a_page(visit: Callable[..., Visit], address: str) -> None:
    one = visit()
    one.page.goto(f"{address}/docs")
    one.until(lambda: "POST /v1/transcribe" in one.page.inner_text("body"))
    assert "TranscriptDocument" in one.page.inner_text("body")
