"""What Python programs use: names of the package, methods of a run, transcripts."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import soundfile
import tiny
import torch

import phoneme_moe
from phoneme_moe.pipeline import Trained
from phoneme_moe.run import Run
from phoneme_moe.transcription.formats import FORMATS

PACKAGE = Path(phoneme_moe.__file__).parent
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    samples, _ = tiny.speak(list("asimas"), "ann", np.random.default_rng(5))
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, waveform: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "ann.wav"
    soundfile.write(path, waveform, tiny.RATE, subtype="FLOAT")
    return path


@pytest.fixture
def run(recognized: Trained) -> Run:
    return phoneme_moe.load(recognized.run.folder)


def test_training_and_loading_give_the_same_kind_of_run(recognized: Trained) -> None:
    assert type(recognized.run) is Run
    assert type(phoneme_moe.load(recognized.run.folder)) is Run


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, np.ndarray.tolist])
def test_an_array_gives_what_its_file_gives(
    run: Run, recording: Path, waveform: np.ndarray, kind: Callable[[np.ndarray], Any]
) -> None:
    expected = run.transcribe(recording)
    found = run.transcribe(kind(waveform), tiny.RATE)
    assert expected.phonemes
    assert (found.segments, found.duration) == (expected.segments, expected.duration)
    assert found.routing == expected.routing


def test_channels_of_an_array_are_those_of_a_file(
    run: Run, waveform: np.ndarray, tmp_path: Path
) -> None:
    both = np.stack([waveform, np.zeros_like(waveform)], axis=1)
    soundfile.write(tmp_path / "b.wav", both, tiny.RATE, subtype="FLOAT")
    for channel in (None, 1, 2):
        expected = run.transcribe(tmp_path / "b.wav", channel=channel)
        found = run.transcribe(both, tiny.RATE, channel=channel)
        assert (found.segments, found.silences) == (expected.segments, expected.silences)
    with pytest.raises(phoneme_moe.InputError, match="no channel 3"):
        run.transcribe(both, tiny.RATE, channel=3)


def test_an_array_of_another_rate_is_resampled(run: Run, waveform: np.ndarray) -> None:
    slow = run.transcribe(np.repeat(waveform, 2), 2 * tiny.RATE)
    assert slow.duration == pytest.approx(len(waveform) / tiny.RATE, abs=1e-3)
    assert slow.phonemes == run.transcribe(waveform, tiny.RATE).phonemes


def test_arrays_that_cannot_be_used_are_refused(
    run: Run, recording: Path, waveform: np.ndarray
) -> None:
    broken = waveform.copy()
    broken[7] = np.nan
    cases: list[tuple[Any, int | None, str]] = [
        (waveform, None, "sample_rate: found none"),
        (recording, 8000, "sample_rate: found 8000 for an audio file"),
        (broken, tiny.RATE, "NaN or infinite"),
        (waveform[:100], tiny.RATE, "too short: found 0.013 s"),
        (waveform[None, :, None], tiny.RATE, r"found shape \(1, \d+, 1\)"),
    ]
    for audio, rate, message in cases:
        with pytest.raises(phoneme_moe.InputError, match=message):
            run.transcribe(audio, rate)


def test_keywords_are_the_options_of_the_command(run: Run, recording: Path) -> None:
    best = run.transcribe(recording, beam=8, nbest=3)
    assert len(best.alternatives) == 3
    assert best.phonemes == best.alternatives[0].phonemes
    alone = run.transcribe(recording, only_expert="bob")
    assert alone.routing == pytest.approx({"ann": 0.0, "bob": 1.0, "carol": 0.0})
    without = run.transcribe(recording, without_expert="bob")
    assert without.routing["bob"] == 0
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^nbest: found 2 with greedy decoding"):
        run.transcribe(recording, nbest=2)
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^only_expert: .* no expert 'bop'"):
        run.transcribe(recording, only_expert="bop")


def test_many_files_in_their_order_and_a_bad_one_between(
    run: Run, recording: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    first, failure, last = run.transcribe_files([recording, bad, str(recording)])
    assert isinstance(failure, phoneme_moe.Failure)
    assert failure.path == bad
    assert isinstance(first, phoneme_moe.Transcript)
    assert isinstance(last, phoneme_moe.Transcript)
    assert first.segments == last.segments == run.transcribe(recording).segments


def test_tokens_are_recognised_from_arrays_too(classified: Trained) -> None:
    token = tiny.sound_of("a", "ann", 0.3, np.random.default_rng(1)).astype(np.float32)
    transcript = classified.run.transcribe(token, tiny.RATE)
    assert len(transcript.phonemes) == 1
    assert transcript.path == Path("array")


@pytest.mark.parametrize("name", FORMATS)
def test_a_transcript_saves_what_the_command_writes(
    run: Run, recording: Path, tmp_path: Path, name: str
) -> None:
    transcript = run.transcribe(recording)
    path = tmp_path / f"t{FORMATS[name].suffix}"
    assert transcript.save(path) == path
    FORMATS[name].save(transcript, tmp_path / "expected")
    assert path.read_bytes() == (tmp_path / "expected").read_bytes()
    assert transcript.save(tmp_path / "other.x", name).read_bytes() == path.read_bytes()


def test_a_transcript_in_no_known_format_is_refused(
    run: Run, recording: Path, tmp_path: Path
) -> None:
    transcript = run.transcribe(recording)
    with pytest.raises(phoneme_moe.InputError, match=r"found suffix '.docx'"):
        transcript.save(tmp_path / "t.docx")
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^format: found 'jso'"):
        transcript.save(tmp_path / "t.json", "jso")
    assert list(tmp_path.iterdir()) == []


def test_a_transcript_as_data_as_a_table_and_in_a_notebook(run: Run, recording: Path) -> None:
    transcript = run.transcribe(recording)
    schema = json.loads((SCHEMAS / "transcript.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(transcript.to_dict())), schema)
    table = transcript.to_dataframe()
    assert table.columns.tolist() == [
        "phoneme",
        "start",
        "end",
        "confidence",
        "ann",
        "bob",
        "carol",
    ]
    assert tuple(table.phoneme) == transcript.phonemes
    np.testing.assert_allclose(table[["ann", "bob", "carol"]].sum(axis=1), 1, atol=1e-4)
    assert str(transcript) == " ".join(transcript.phonemes)
    html = transcript._repr_html_()
    assert re.findall(r"font-weight:bold[^>]*>([^<]+)<", html) == list(transcript.phonemes)
    assert "mean gate weights" in html


def test_names_are_escaped_in_a_notebook(run: Run, recording: Path, tmp_path: Path) -> None:
    evil = tmp_path / "<script>alert(1)<.wav"
    evil.write_bytes(recording.read_bytes())
    html = run.transcribe(evil)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_run_shows_its_model_card_in_a_notebook(run: Run) -> None:
    html = run._repr_html_()
    for words in ("tiny_recognize", "PER", "phonemes", "parameters"):
        assert words in html


def test_alignment_of_phonemes_of_a_text_and_of_an_array(
    run: Run, recording: Path, waveform: np.ndarray, tmp_path: Path
) -> None:
    by_file = run.align(recording, "a s i m a s")
    by_array = run.align(waveform, list("asimas"), tiny.RATE)
    assert by_file.transcript.segments == by_array.transcript.segments
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("as a s\nima i m a\ns s\n")
    by_text = run.align(recording, text="As ima s", lexicon=lexicon)
    assert by_text.transcript.segments == by_file.transcript.segments
    assert [word.word for word in by_text.words] == ["as", "ima", "s"]
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^phonemes: expected one of"):
        run.align(recording)
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^lexicon: found none"):
        run.align(recording, text="as")


def test_evaluation_report_and_comparison(run: Run, recognized: Trained, tmp_path: Path) -> None:
    assert run.evaluate().total == recognized.evaluation.total
    alone = run.evaluate(only_expert="ann")
    assert alone.by_speaker["ann"].num_reference == run.evaluate().by_speaker["ann"].num_reference
    assert alone.total != run.evaluate().total
    report = run.report(out=tmp_path / "report")
    np.testing.assert_allclose(report.report.weights, recognized.routing.report.weights)
    assert (tmp_path / "report" / "report.html").is_file()
    html = report._repr_html_()
    assert "<svg" in html
    assert report.document.verdict[0].split()[0] in html
    comparison = run.compare(run, out=tmp_path / "compare")
    assert (tmp_path / "compare" / "comparison.json").is_file()
    assert comparison.files


def test_an_exported_run_transcribes_the_same(run: Run, recording: Path, tmp_path: Path) -> None:
    from phoneme_moe.transcription.onnx_engine import OnnxEngine
    from phoneme_moe.transcription.transcribe import transcribe_file

    path = run.export(tmp_path / "model.onnx")
    assert (
        transcribe_file(OnnxEngine(path), recording).phonemes == run.transcribe(recording).phonemes
    )


def test_the_package_shows_its_names_and_its_types() -> None:
    assert dir(phoneme_moe) == sorted(phoneme_moe.__all__)
    for name in phoneme_moe.__all__:
        assert getattr(phoneme_moe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        # Reading the attribute is the test: its value is not used.
        phoneme_moe.nonesuch  # noqa: B018
    assert resources.files("phoneme_moe").joinpath("py.typed").is_file()


# The last two lines are wrong: ``mypy --strict`` reports an ignore that silences nothing, so they
# fail unless the package's types really reach the user.
USER = """
import numpy as np
import phoneme_moe
from phoneme_moe import Evaluation, Run, Transcript

run: Run = phoneme_moe.load("runs/x")
transcript: Transcript = run.transcribe("a.wav", beam=16, symbols="ipa")
again = run.transcribe(np.zeros(16000, np.float32), 16000)
names: tuple[str, ...] = again.phonemes
seconds: float = transcript.segments[0].start
evaluation: Evaluation = run.evaluate("dev")
rate: float = evaluation.by_speaker["ann"].error_rate
weights: float = float(run.report().report.weights[0, 0])
for result in run.transcribe_files(["a.wav", "b.wav"]):
    if isinstance(result, phoneme_moe.Failure):
        print(result.error)
    else:
        print(result.save("a.TextGrid"), result.to_dict())
trained = phoneme_moe.train("quick", changes=["seed=2"])
adapted: Run = trained.run.adapt("recordings", "me", "runs/me", new_expert=True).run
adapted.transcribe("mine.wav").save("mine.json")
goodness = run.align("a.wav", "a b").goodness[0] + 1.0
run.transcribe("a.wav", beams=3)  # type: ignore[call-arg]
rate.nonesuch  # type: ignore[attr-defined]
"""


@pytest.mark.slow
def test_a_users_file_is_checked_strictly(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(USER)
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", file],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(),
        check=False,
    )
    assert done.stdout == "Success: no issues found in 1 source file\n"


def _environment() -> dict[str, str]:
    import os

    # mypy follows py.typed of installed packages, and MYPYPATH for a checkout.
    return {**os.environ, "MYPYPATH": str(PACKAGE.parent)}


@pytest.mark.slow
def test_the_library_names_arguments_and_only_commands_name_options() -> None:
    named = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Raise) or node.exc is None:
                continue
            named += [
                f"{path.relative_to(PACKAGE)}:{part.lineno}: {part.value}"
                for part in ast.walk(node.exc)
                if isinstance(part, ast.Constant)
                and isinstance(part.value, str)
                and re.search(r"(^|[\s(])--[a-z]", part.value)
                # A whole command to copy, as a run that is not finished says how to go on.
                and not re.search(r"--(out|resume)\b", part.value)
            ]
    assert named == []
