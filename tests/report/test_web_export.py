"""A run as a web page: what Chromium recognises is what Python does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import tiny
from test_browser import until
from waiting import BROWSER_PATIENCE_MS

from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.web.export import _log_mel, export_web
from phoneme_moe.report.web.runtime import FILES, VERSION, find_runtime
from phoneme_moe.run_folder import LoadedRun, load_run, save_model, save_recipe
from phoneme_moe.transcription.onnx_engine import OnnxEngine
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.recording import read_recording
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.segment_times import build_transcript
from phoneme_moe.transcription.transcribe import Options, transcribe_file
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.windowing import infer

if TYPE_CHECKING:
    from conftest import Outcome

#: Whether a recording is done, or an error is told.
DONE = "!/^(Ready|Recording|Recognising)/.test(document.getElementById('status').textContent)"


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The npm package, which .ci/run fetches: the tests use no network."""
    try:
        return find_runtime().parent
    except ArgumentError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(recognized: Trained, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "site"
    return export_web(load_run(recognized.run.folder), folder, runtime=runtime)


def write_speech(path: Path, phonemes: Sequence[str], speaker: str, seed: int = 0) -> Path:
    samples, _ = tiny.speak(list(phonemes), speaker, np.random.default_rng(seed))
    soundfile.write(path, samples, tiny.RATE)
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Visit:
    """The page, open in a browser, with its messages and requests."""

    page: Any
    address: str
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def give(self, path: Path) -> list[str]:
        """Chooses a file; gives the phonemes."""
        self.page.evaluate("document.getElementById('status').textContent = 'Ready.'")
        self.page.set_input_files("#file", path)
        until(self.page, DONE)
        return [str(one) for one in self.page.inner_text("#phonemes").split()]

    def status(self) -> str:
        return str(self.page.inner_text("#status"))

    def table(self) -> list[list[str]]:
        rows: list[list[str]] = self.page.eval_on_selector_all(
            "#rows tr", "rows => rows.map((row) => [...row.cells].map((one) => one.textContent))"
        )
        return rows

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def check_quiet(self) -> None:
        """No message, and no request beyond the folder."""
        assert self.messages == []
        beyond = [url for url in self.requests if not url.startswith((self.address, "data:"))]
        assert beyond == []


@contextmanager
def visiting(chromium: Any, folder: Path, width: int = 1280) -> Iterator[Visit]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, permissions=["microphone"]
        )
        context.set_default_timeout(BROWSER_PATIENCE_MS)
        visit = Visit(context.new_page(), f"http://127.0.0.1:{server.server_port}/")
        visit.page.on("console", lambda message: visit.messages.append(message.text))
        visit.page.on("pageerror", lambda error: visit.messages.append(str(error)))
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.goto(visit.address)
        visit.page.wait_for_selector("#file:enabled")
        yield visit
        context.close()
        server.shutdown()


def check_same(visit: Visit, path: Path, expected: Transcript) -> None:
    assert visit.give(path) == list(expected.phonemes)
    for row, segment in zip(visit.table(), expected.segments, strict=True):
        # Shown in whole per cent; Chromium stretches positive samples of 16 bits by 1/32767.
        assert float(row[3]) == pytest.approx(100 * segment.confidence, abs=1)
    legend = visit.page.locator("#legend li").all_inner_texts()
    for text, (expert, weight) in zip(legend, expected.routing.items(), strict=True):
        name, percent = text.removesuffix("%").rsplit(maxsplit=1)
        assert name == expert
        assert float(percent) == pytest.approx(100 * weight, abs=0.51)


SPOKEN = [("ann", "asima"), ("bob", "mimisasa"), ("carol", "s"), ("dan", "imasiimaassmi")]


def test_the_browser_recognises_what_transcribe_does(
    chromium: Any, recognized: Trained, site: Path, tmp_path: Path
) -> None:
    engine = RunEngine(load_run(recognized.run.folder))
    with visiting(chromium, site) as visit:
        for seed, (speaker, phonemes) in enumerate(SPOKEN):
            path = write_speech(tmp_path / f"{speaker}.wav", phonemes, speaker, seed)
            expected = transcribe_file(engine, path, Options(beam=0))
            assert expected.segments
            check_same(visit, path, expected)
        # The exported model is one like any other, and greedy.
        assert transcribe_file(OnnxEngine(site / "model.onnx"), path).phonemes == expected.phonemes
        visit.check_quiet()


def test_eight_bits_are_close(
    chromium: Any, recognized: Trained, runtime: Path, tmp_path: Path
) -> None:
    site = export_web(load_run(recognized.run.folder), tmp_path / "site", True, runtime)
    path = write_speech(tmp_path / "ann.wav", "asimas", "ann")
    expected = transcribe_file(OnnxEngine(site / "model.onnx"), path).phonemes
    with visiting(chromium, site) as visit:
        # Products of 8 bits are rounded in another way by each kind of processor.
        assert SequenceMatcher(None, visit.give(path), expected).ratio() > 0.7
        visit.check_quiet()


@pytest.mark.parametrize("changes", [{}, {"window": "hamming", "window_ms": 33.3, "n_mels": 40}])
@pytest.mark.parametrize("normalization", ["utterance", "range"])
def test_features_are_those_of_numpy(
    chromium: Any, site: Path, changes: dict[str, Any], normalization: str
) -> None:
    settings = {"sample_rate": 16_000, "n_mels": 24, **changes}
    front_end = FrontEnd(**settings, normalization=normalization)
    samples, _ = tiny.speak(["a", "s", "i"], "ann", np.random.default_rng(5))
    expected = front_end(samples.astype(np.float32))
    with visiting(chromium, site) as visit:
        found = visit.page.evaluate(
            """async ([settings, samples]) => {
              const {FrontEnd} = await import("./features.js");
              return [...new FrontEnd(settings).features(Float32Array.from(samples))];
            }""",
            [_log_mel(front_end), samples.tolist()],
        )
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-4)


def test_long_recordings_are_cut_in_the_same_places(
    chromium: Any, recognized: Trained, site: Path, tmp_path: Path
) -> None:
    short = tmp_path / "site"
    shutil.copytree(site, short)
    settings = json.loads((short / "model.json").read_text())
    step = settings["frame_seconds"]
    settings |= {"batch_frames": 50, "window_frames": 25, "piece_frames": 20}
    (short / "model.json").write_text(json.dumps(settings))
    path = write_speech(tmp_path / "long.wav", 4 * "asimmissa", "dan")
    engine = RunEngine(load_run(recognized.run.folder))
    recording = read_recording(path, engine.spec.front_end())
    (output,) = infer(engine, [recording], batch_frames=50, window_seconds=25 * step)
    (hypothesis,) = decode([output], engine.spec, 0, piece_seconds=20 * step)
    expected = build_transcript(recording, output, hypothesis, engine.spec)
    assert len(expected.segments) > 20
    with visiting(chromium, short) as visit:
        check_same(visit, path, expected)


def test_a_pretrained_encoder_runs_in_the_browser(
    chromium: Any, runtime: Path, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")
    import torch
    from encoders import write_encoder

    from phoneme_moe.model.front_end import pin_encoders
    from phoneme_moe.model.recognizer import Recognizer
    from phoneme_moe.recipe import load_recipe

    encoder = str(write_encoder(tmp_path / "whisper", "whisper"))
    section = json.dumps({"kind": "pretrained", "model": encoder, "stack": 2})
    recipe = load_recipe(tiny.RECIPES / "tiny_sparse.yaml", [f"features={section}"])
    recipe = pin_encoders(recipe)
    torch.manual_seed(0)
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, ("a", "i"), ("encoder",))
    run = LoadedRun(tmp_path / "run", recipe, recognizer.eval())
    run.folder.mkdir()
    save_recipe(run.folder, recipe)
    save_model(run.folder, recipe, run.recognizer)
    site = export_web(run, tmp_path / "site", runtime=runtime)
    with visiting(chromium, site) as visit:
        for seconds in (0.7, 33.33):  # the longer one in several windows
            samples = 0.1 * np.random.default_rng(1).standard_normal(round(16_000 * seconds))
            path = tmp_path / f"noise_{seconds}.wav"
            soundfile.write(path, samples, 16_000)
            check_same(visit, path, transcribe_file(RunEngine(run), path, Options(beam=0)))
        visit.check_quiet()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_phoneme_is_reached_by_key_and_heard(
    chromium: Any, site: Path, tmp_path: Path, width: int
) -> None:
    path = write_speech(tmp_path / f"{'long_name_' * 12}.wav", "asimasim", "ann")
    with visiting(chromium, site, width) as visit:
        page = visit.page
        assert visit.overflow() <= 0
        phonemes = visit.give(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert visit.overflow() <= 0
        buttons = page.locator("#segments button")
        assert buttons.all_inner_texts() == phonemes or width == 390
        buttons.first.focus()
        page.keyboard.press("ArrowRight")
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        start, end = (float(one) for one in visit.table()[1][1:3])
        assert focused.startswith(f"{phonemes[1]}, {start:.2f} to {end:.2f} s")
        assert phonemes[1] in page.inner_text("#readout")
        page.evaluate(
            """() => {
              window.played = [];
              const {start} = AudioBufferSourceNode.prototype;
              AudioBufferSourceNode.prototype.start = function (...when) {
                window.played.push(when.slice(1));
                start.apply(this, when);
              };
            }"""
        )
        page.keyboard.press("Enter")
        until(page, "window.played.length === 1")
        first, length = page.evaluate("window.played[0]")
        assert (first, first + length) == pytest.approx((start, end), abs=0.006)
        until(page, "document.getElementById('cursor').hidden")
        visit.check_quiet()


def test_the_microphone_is_recognised(chromium: Any, site: Path) -> None:
    with visiting(chromium, site) as visit:
        visit.page.get_by_role("button", name="Record", exact=True).click()
        until(visit.page, "document.getElementById('status').textContent === 'Recording …'")
        visit.page.evaluate("new Promise((done) => setTimeout(done, 300))")
        visit.page.get_by_role("button", name="Stop recording").click()
        until(visit.page, DONE)
        assert visit.page.inner_text("#name") == "microphone"
        assert "phonemes, recognised in" in visit.status()
        assert visit.page.get_by_role("button", name="Record", exact=True).count() == 1
        visit.check_quiet()


def test_what_is_no_sound_or_has_none(chromium: Any, site: Path, tmp_path: Path) -> None:
    text, silence = tmp_path / "text.wav", tmp_path / "silence.wav"
    text.write_text("no sound")
    soundfile.write(silence, np.zeros(tiny.RATE), tiny.RATE)
    with visiting(chromium, site) as visit:
        visit.give(text)
        assert visit.status() == "text.wav: this browser cannot decode it as sound"
        assert " ".join(visit.give(silence)) == "No phoneme was recognised."


def test_the_command(
    recognized: Trained, runtime: Path, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    site, options = tmp_path / "site", ("--runtime", runtime)
    done = phoneme_moe("export", recognized.run.folder, "--web", site, *options)
    assert (done.code, done.out) == (0, f"{site}\n")
    assert {path.name for path in (site / "onnxruntime").iterdir()} == set(FILES)
    again = phoneme_moe("export", recognized.run.folder, "--web", site, *options)
    assert (again.code, again.err) == (
        1,
        f"phoneme-moe: --web: {site}: not empty; expected an empty or new folder\n",
    )


@pytest.mark.parametrize(
    ("package", "found"),
    [
        (None, "no npm package"),
        ("[]", "no npm package"),
        ('{"name": "onnxruntime-web", "version": "1.0.0"}', "onnxruntime-web 1.0.0"),
        (json.dumps({"name": "onnxruntime-web", "version": VERSION}), f"no dist/{FILES[0]}"),
    ],
)
def test_another_runtime_is_refused(tmp_path: Path, package: str | None, found: str) -> None:
    if package is not None:
        (tmp_path / "package.json").write_text(package)
    with pytest.raises(ArgumentError) as error:
        find_runtime(tmp_path)
    assert f"{tmp_path}: found {found}, expected onnxruntime-web {VERSION}" in str(error.value)


def test_a_run_that_a_page_cannot_show_is_refused(classified: Trained, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task\.kind: found classify"):
        export_web(classified.run, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_embeddings_are_refused(
    recognized: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(RunEngine(recognized.run).spec, embedding_size=3)
    monkeypatch.setattr("phoneme_moe.report.web.export.spec_of", lambda run: spec)
    with pytest.raises(InputError, match="embedding"):
        export_web(recognized.run, tmp_path / "site")
