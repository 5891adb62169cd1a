"""How long a person waits on the page of ``serve``: first view, a file, live speech.

``python -m benchmarks.workbench RECORDING`` starts the server with the shipped model ``english``
and Chromium, whose microphone plays the recording, and writes a section of docs/serve.md. It needs
the extras ``serve`` and ``test`` (Playwright) and a browser.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

from benchmarks import results
from benchmarks.results import table
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.files.writing import write_text

PAGE = Path(__file__).parents[1] / "docs" / "serve.md"
VISITS = 5
SECONDS = 10
"""Length of the file, and of live speech."""

READY = 'document.body?.dataset.ready === "yes"'
SHOWN = """document.getElementById("status").textContent.includes("shown after")
  && document.querySelectorAll("#lane-phonemes button").length > 0"""
#: The page's policy forbids Playwright's own way of waiting.
UNTIL = """() => new Promise((done) => {
  const look = () => (%s) ? done(performance.now()) : requestAnimationFrame(look);
  look();
})"""


def main() -> None:
    """Measures, keeps the figures, writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recording", type=Path, help="speech of at least ten seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(arguments.recording, Path(folder))
    results.keep("workbench", figures)
    write_text(PAGE, text())
    print(section(figures))


def text() -> str:
    """The page with the section of the kept figures."""
    return results.with_section(PAGE, "workbench", section(results.read("workbench")))


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/serve.md."""
    rows = [
        ["first view of the page, model loaded", "1 s", f"{median(figures['first_view']):.2f} s"],
        [
            f"{SECONDS} s file: from the choice to phonemes and picture",
            "1.5 s",
            f"{median(figures['file']):.2f} s",
        ],
        ["live: a phoneme on the screen after it was spoken", "0.6 s", figures["live"]],
    ]
    text = table([f"`{figures['run']}`, median of {VISITS}", "aim", "measured"], rows)
    return f"\n{text}\n{figures['machine']}, server and browser on the same cores.\n"


def _measure(recording: Path, folder: Path) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    microphone, file = folder / "microphone.wav", folder / "speech.wav"
    samples = load_waveform(recording, 48_000)[: 48_000 * SECONDS]
    soundfile.write(microphone, np.concatenate([samples, np.zeros(9600)]), 48_000)
    soundfile.write(file, samples, 48_000)
    browser = os.environ.get("PHONEME_MOE_CHROMIUM") or shutil.which("chromium")
    server = subprocess.Popen(
        [sys.executable, "-m", "phoneme_moe", "serve", "english", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    address = server.stderr.readline().split(" at ")[1].split()[0]
    figures: dict[str, Any] = {
        "run": "english",
        "machine": f"{results.machine()}, {os.cpu_count()} cores",
        "first_view": [],
        "file": [],
    }
    switches = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=switches)
            for visit in range(VISITS + 1):
                page = chromium.new_context(permissions=["microphone"]).new_page()
                page.goto(f"{address}/#file")
                first = page.evaluate(UNTIL % READY) / 1000
                began = page.evaluate("performance.now()")
                page.set_input_files("#choose", file)
                shown = (page.evaluate(UNTIL % SHOWN) - began) / 1000
                if visit > 0:  # the first one warms up
                    figures["first_view"].append(round(first, 3))
                    figures["file"].append(round(shown, 3))
                page.context.close()
            page = chromium.new_context(permissions=["microphone"]).new_page()
            page.goto(f"{address}/#live")
            page.evaluate(UNTIL % READY)
            page.click("text=Start the microphone")
            page.wait_for_timeout(SECONDS * 1000)
            figures["live"] = page.inner_text(".live output").removesuffix(" behind") + " (median)"
            chromium.close()
    finally:
        server.terminate()
        server.wait()
    return figures


if __name__ == "__main__":
    main()
