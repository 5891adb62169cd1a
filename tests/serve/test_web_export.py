"""The static page recognises in a real browser what Python recognises."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import tiny
from browsers import headless_browser
from serve_sound import wav
from waiting import BROWSER_PATIENCE_MS

import phoneme_moe as package
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.run_folder import load_run
from phoneme_moe.serve.web_export import RUNTIME, RUNTIME_VERSION, export_web
from phoneme_moe.transcription.run_engine import spec_of

if TYPE_CHECKING:
    from conftest import Outcome

#: Where .ci/run puts onnxruntime-web, which pip cannot bring.
NAMED = "PHONEME_MOE_ONNXRUNTIME_WEB"
TURNS = 3000


@pytest.fixture(scope="session")
def runtime() -> Path:
    folder = Path(os.environ.get(NAMED) or RUNTIME)
    if not (folder / "dist").is_dir():
        pytest.skip(f"no onnxruntime-web: neither {NAMED} nor {RUNTIME}")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with headless_browser() as browser:
        yield browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["recognized", "sparse"])
def exported(
    request: pytest.FixtureRequest, runtime: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Trained, str]]:
    """A run, and the address of its page."""
    trained: Trained = request.getfixturevalue(request.param)
    folder = export_web(
        load_run(trained.run.folder), tmp_path_factory.mktemp("web") / "page", runtime
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield trained, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Words of several speakers; the last one has an offset."""
    folder = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(2)
    for number in range(6):
        spoken = [str(p) for p in random.choice(tiny.PHONEMES, size=2 + number)]
        (folder / f"{number}.wav").write_bytes(wav(spoken, ["ann", "bob", "dan"][number % 3]))
    samples, rate = soundfile.read(folder / "5.wav")
    soundfile.write(folder / "5.wav", 0.5 * samples + 0.4, rate)
    return sorted(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_recognises_the_phonemes_of_python(
    exported: tuple[Trained, str], chromium: Any, words: list[Path], width: int, scheme: str
) -> None:
    trained, address = exported
    run = package.load(trained.run.folder)
    front_end = spec_of(run).front_end()
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(BROWSER_PATIENCE_MS)
    page = context.new_page()
    messages: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((address, "blob:", "data:")) else foreign.append("")
        ),
    )
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    for file in words:
        page.set_input_files("#choose", file)
        _until(page, file.name + ":")
        found = page.evaluate("page.inspection")
        expected = run.transcribe(file, beam=0)
        assert found["transcript"]["phonemes"] == list(expected.phonemes)
        confidence = [segment["confidence"] for segment in found["transcript"]["segments"]]
        assert confidence == pytest.approx([s.confidence for s in expected.segments], abs=0.01)
        mean = np.array(found["weights"]).mean(axis=0)
        assert mean == pytest.approx(list(expected.routing.values()), abs=0.005)
        features = np.array(page.evaluate("Array.from(page.inspection.features)"))
        numpy = front_end(load_waveform(file, front_end.sample_rate))
        # Where there is next to no sound, NumPy's single precision is the less exact one.
        assert np.abs(features - numpy.ravel()).mean() < 1e-4
    page.locator("#lane-phonemes button").first.click()
    assert page.locator("#lane-phonemes .selected").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()
    assert messages == []
    assert foreign == []


def _until(page: Any, words: str) -> None:
    for _ in range(TURNS):
        if page.inner_text("#status").startswith(words):
            return
        page.evaluate("new Promise((turn) => setTimeout(turn, 20))")
    raise AssertionError(page.inner_text("body"))


def test_without_the_runtime_the_command_says_how_to_get_it(
    recognized: Trained, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    empty = tmp_path / "none"
    empty.mkdir()
    out = tmp_path / "web"
    outcome = phoneme_moe(
        "export", str(recognized.run.folder), "--web", str(out), "--runtime", str(empty)
    )
    assert outcome.code == 1
    assert f"npm install onnxruntime-web@{RUNTIME_VERSION}" in outcome.err
    assert not out.exists()


def test_what_the_page_cannot_run_is_refused(classified: Trained, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classifies single tokens"):
        export_web(load_run(classified.run.folder), tmp_path / "web")
    with pytest.raises(InputError, match="has a pretrained encoder"):
        export_web(load_run("english_whisper"), tmp_path / "web")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "export: expected one of --onnx, --web and --run"),
        (["--web", "a", "--onnx", "b.onnx"], "export: expected one of --onnx, --web and --run"),
        (["--onnx", "b.onnx", "--runtime", "r"], "--runtime: expected --web with it"),
        (["--run", "b", "--int8"], "--int8: expected --onnx or --web with it"),
    ],
)
def test_options_that_do_not_go_together(
    recognized: Trained, phoneme_moe: Callable[..., Outcome], options: list[str], error: str
) -> None:
    outcome = phoneme_moe("export", str(recognized.run.folder), *options)
    assert outcome.code == 1
    assert error in outcome.err


def test_a_folder_with_files_is_left_alone(
    recognized: Trained, runtime: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_web(load_run(recognized.run.folder), tmp_path, runtime)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
