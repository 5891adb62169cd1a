from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from typer import Typer
from waiting import communicate, run

from phoneme_moe.cli import app
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import load_recipe, shipped_recipes

Command = Callable[..., Any]


def commands_of(typer: Typer, *above: str) -> list[list[str]]:
    """The application, its groups and all their commands."""
    commands = [[*above]]
    commands += [[*above, str(command.name)] for command in typer.registered_commands]
    for group in typer.registered_groups:
        assert group.typer_instance is not None
        commands += commands_of(group.typer_instance, *above, str(group.name))
    return commands


COMMANDS = commands_of(app)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good recordings, and a bad one beside it."""
    folder = tmp_path_factory.mktemp("voices")
    for name in ("ann", "bob"):
        samples, _ = tiny.speak(["a", "s", "i"], name, np.random.default_rng(5))
        soundfile.write(folder / f"{name}.wav", samples, tiny.RATE)
    return folder


def python(code: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", code])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "main")
def test_every_command_explains_itself(phoneme_moe: Command, command: list[str]) -> None:
    result = phoneme_moe(*command, "--help")
    assert (result.code, result.err) == (0, "")
    assert "Usage: " in result.out
    assert not re.search("<bool>|<int range>", result.out)
    assert max(map(len, result.out.splitlines())) <= 80
    assert phoneme_moe(*command, "-h").out == result.out


def test_the_version_is_that_of_the_package(phoneme_moe: Command) -> None:
    assert phoneme_moe("--version") == (0, f"phoneme-moe {version('phoneme-moe')}\n", "")


def test_recipes_are_listed_and_printed_to_be_copied(phoneme_moe: Command, tmp_path: Path) -> None:
    listed = phoneme_moe("recipes")
    assert listed.code == 0
    for name in shipped_recipes():
        assert f" {name} " in listed.out
        printed = phoneme_moe("recipes", name)
        assert (printed.code, printed.err) == (0, "")
        (tmp_path / "mine.yaml").write_text(printed.out)
        assert load_recipe(tmp_path / "mine.yaml") == load_recipe(name)
    assert_one_line(phoneme_moe("recipes", "quik"), "did you mean 'quick'?")


def test_help_is_not_broken_twice() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        # The first paragraph is wrapped by Typer, the others keep their lines.
        _, *lines = inspect.cleandoc(command.callback.__doc__ or "").split("\n\n", 1)
        assert max(map(len, "".join(lines).splitlines()), default=0) <= 78, command.name


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "lightning", "lhotse", "numpy", "librosa", "matplotlib")
    done = python(
        "import sys; sys.argv = ['phoneme-moe', 'train', '--help']\n"
        "from phoneme_moe.cli import main\n"
        "try: main()\n"
        f"finally: print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[]"


def test_inference_does_not_import_lightning(recognized: Trained, voices: Path) -> None:
    done = python(
        "import sys; from phoneme_moe import load\n"
        f"run = load({str(recognized.run.folder)!r})\n"
        f"run.transcribe({str(voices / 'ann.wav')!r}); run.evaluate()\n"
        "sys.exit('lightning' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "phoneme_moe", "corpora", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "announcers" in done.stdout
    assert done.stderr == ""


def assert_one_line(result: Any, *words: str, code: int = 1) -> None:
    assert result.code == code
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("phoneme-moe: ")
    for word in words:
        assert word in lines[0]
    assert result.out == ""


BAD_RECIPES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown recipe": (["nonesuch"], ("no recipe named 'nonesuch'",)),
    "missing file": (["no/such.yaml"], ("no/such.yaml: cannot be read",)),
    "unknown key": (["hampshire_waibel", "--set", "model.epxert=3"], ("model.epxert", "expert")),
    "bad change": (["hampshire_waibel", "--set", "seed"], ("--set: 'seed'",)),
    "change within a list of names": (
        [str(tiny.RECIPES / "tiny_recognize.yaml"), "--set", "corpus.speakers.ann.age=3"],
        ("corpus.speakers.ann.age",),
    ),
    "wrong type": (["hampshire_waibel", "--set", "seed=x"], ("seed: found 'x'",)),
    "unknown corpus": (
        [str(tiny.RECIPES / "tiny_recognize.yaml"), "--set", "corpus.name=nowhere"],
        ("corpus 'nowhere' is unknown",),
    ),
    "corpus that needs files": (["six_speakers_digits"], ("corpus 'fsdd' is not prepared",)),
    "unknown device": (
        [str(tiny.RECIPES / "tiny_recognize.yaml"), "--device", "tpu"],
        ("--device: found 'tpu'",),
    ),
    "unknown speaker": (
        [str(tiny.RECIPES / "tiny_recognize.yaml"), "--set", "corpus.speakers=[anne]"],
        ("no speaker 'anne'",),
    ),
    "unknown phoneme": (
        [str(tiny.RECIPES / "tiny_classify.yaml"), "--set", "task.phonemes=[a, x]"],
        ("no phoneme 'x'",),
    ),
    "token too short for the network": (
        [str(tiny.RECIPES / "tiny_classify.yaml"), "--set", "task.token_ms=40"],
        ("token_ms",),
    ),
    "mel bands too narrow to hear anything": (
        [str(tiny.RECIPES / "tiny_recognize.yaml"), "--set", "features.window_ms=1"],
        ("window_ms",),
    ),
}


@pytest.mark.parametrize("what", BAD_RECIPES)
def test_a_recipe_that_cannot_be_trained_is_refused_in_one_line(
    phoneme_moe: Command, tones: PreparedCorpus, tmp_path: Path, what: str
) -> None:
    arguments, words = BAD_RECIPES[what]
    result = phoneme_moe("train", *arguments, "--out", tmp_path / "run")
    assert_one_line(result, *words)
    assert not (tmp_path / "run").exists()


def test_two_runs_are_not_mixed_in_a_folder(phoneme_moe: Command, recognized: Trained) -> None:
    recipe = tiny.RECIPES / "tiny_recognize.yaml"
    out = ["--out", recognized.run.folder, "--device", "cpu"]
    assert_one_line(phoneme_moe("train", recipe, *out), "--resume")
    result = phoneme_moe("train", recipe, *out, "--resume", "--set", "training.batch_size=5")
    assert_one_line(result, "training.batch_size: found 5, expected 6")


@pytest.mark.parametrize("command", ["evaluate", "report", "transcribe"])
@pytest.mark.parametrize("what", ["missing", "a file", "an empty folder", "no weights"])
def test_what_is_no_run_is_refused_in_one_line(
    phoneme_moe: Command,
    recognized: Trained,
    voices: Path,
    tmp_path: Path,
    command: str,
    what: str,
) -> None:
    run = tmp_path / "run"
    if what == "a file":
        run.write_text("x")
    elif what == "an empty folder":
        run.mkdir()
    elif what == "no weights":
        shutil.copytree(recognized.run.folder, run)
        (run / "model.safetensors").unlink()
    arguments = [run, voices] if command == "transcribe" else [run]
    assert_one_line(phoneme_moe(command, *arguments), str(run))


@pytest.mark.parametrize("command", ["evaluate", "report"])
@pytest.mark.parametrize(
    ("option", "value", "word"),
    [("--split", "tests", "'test'"), ("--corpus", "nowhere", "nowhere"), ("--device", "x", "'x'")],
)
def test_a_wrong_option_is_refused_in_one_line(
    phoneme_moe: Command, recognized: Trained, command: str, option: str, value: str, word: str
) -> None:
    assert_one_line(phoneme_moe(command, recognized.run.folder, option, value), word)


def test_a_corpus_that_cannot_be_used_is_refused_in_one_line(
    phoneme_moe: Command, tmp_path: Path
) -> None:
    for arguments in (
        ["prepare", "nonesuch"],
        ["prepare", "kaldi"],
        ["prepare", "kaldi", "--from", tmp_path / "no"],
        ["prepare", "kaldi", "--from", tmp_path],
        ["check", "nonesuch"],
    ):
        assert_one_line(phoneme_moe("corpora", *arguments))


def test_experiments_are_listed_and_an_unknown_one_is_refused(
    phoneme_moe: Command, tmp_path: Path
) -> None:
    listed = phoneme_moe("reproduce", "list")
    assert (listed.code, listed.err) == (0, "")
    assert "jacobs-1991 " in listed.out
    assert_one_line(phoneme_moe("reproduce", "jacob-1991"), "did you mean")
    too_few = phoneme_moe("reproduce", "jacobs-1991", "--seeds", "0", "--out", tmp_path)
    assert_one_line(too_few, "--seeds: found 0")


@pytest.mark.slow
def test_an_experiment_prints_published_figures_and_ours(
    phoneme_moe: Command, tmp_path: Path
) -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")
    result = phoneme_moe(
        "reproduce", "jacobs-1991", "--quick", "--seeds", "1", "--jobs", "1", "--out", tmp_path
    )
    assert (result.code, result.err) == (0, "")
    assert "2,209" in result.out
    assert "BP 12 hidden" in result.out
    assert "too short for conclusions" in " ".join(result.out.split())
    # Paths of files are never broken; all else fits a terminal.
    printed = result.out[: result.out.rindex("results.json:")]
    assert max(map(len, printed.splitlines())) <= 80
    assert (tmp_path / "results.json").is_file()


@pytest.mark.parametrize(
    "arguments",
    [["nonesuch"], ["train"], ["train", "x", "--outt", "y"], ["transcribe", "run"], []],
)
def test_wrong_usage_exits_with_2_and_no_traceback(
    phoneme_moe: Command, arguments: list[str]
) -> None:
    result = phoneme_moe(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.out + result.err


def test_evaluating_prints_a_table_and_writes_the_figures(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "figures.json"
    result = phoneme_moe("evaluate", recognized.run.folder, "--json", path, "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    data = json.loads(path.read_text())
    assert data == json.loads((recognized.run.folder / "evaluation.json").read_text())
    assert "PER %" in result.out
    assert f"{100 * data['per']:.2f}" in result.out
    for speaker, scores in data["by_speaker"].items():
        (line,) = [line for line in result.out.splitlines() if f" {speaker} " in line]
        assert f"{100 * scores['per']:.2f}" in line
    assert f"none ({4} phonemes)" in " ".join(result.out.split())


def test_evaluating_marks_unseen_speakers(phoneme_moe: Command, classified: Trained) -> None:
    result = phoneme_moe("evaluate", classified.run.folder)
    assert "accuracy %" in result.out
    assert "dan *" in result.out
    assert "ann *" not in result.out
    assert "* not among the speakers" in result.out


def test_reporting_writes_the_files_and_says_where(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    result = phoneme_moe("report", recognized.run.folder, "--split", "dev", "--out", tmp_path / "r")
    assert (result.code, result.err) == (0, "")
    written = {path.name for path in (tmp_path / "r").iterdir()}
    assert written == {
        "routing.json",
        "routing.csv",
        "routing.parquet",
        "routing.svg",
        "routing.png",
        "report.html",
    }
    for name in written:
        assert str(tmp_path / "r" / name) in result.out
    for name in ("ann", "bob", "carol"):
        assert name in result.out


def test_transcribing_prints_a_line_for_each_file(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    result = phoneme_moe("transcribe", recognized.run.folder, voices)
    assert (result.code, result.err) == (0, "")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert [path for path, _ in lines] == [str(voices / "ann.wav"), str(voices / "bob.wav")]
    assert all(set(phonemes.split()) <= set(tiny.PHONEMES) for _, phonemes in lines)


def test_transcribing_to_json_prints_lines_that_parse(
    phoneme_moe: Command, recognized: Trained, voices: Path
) -> None:
    result = phoneme_moe("transcribe", recognized.run.folder, voices, "--format", "json")
    assert (result.code, result.err) == (0, "")
    documents = [json.loads(line) for line in result.out.splitlines()]
    assert [Path(document["file"]).name for document in documents] == ["ann.wav", "bob.wav"]
    text = phoneme_moe("transcribe", recognized.run.folder, voices).out
    assert [line.split("\t")[1].split() for line in text.splitlines()] == [
        document["phonemes"] for document in documents
    ]


def test_transcripts_are_written_into_a_folder(
    phoneme_moe: Command, recognized: Trained, voices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "transcripts"
    result = phoneme_moe(
        "transcribe", recognized.run.folder, voices, "--format", "json", "--out", out
    )
    assert result.code == 0
    assert result.out.splitlines() == [str(out / "ann.json"), str(out / "bob.json")]
    for path in out.glob("*.json"):
        assert json.loads(path.read_text())["file"] == str(voices / f"{path.stem}.wav")


def test_bad_files_are_named_and_the_others_are_done(
    phoneme_moe: Command, recognized: Trained, voices: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    missing = tmp_path / "missing.wav"
    result = phoneme_moe(
        "transcribe", recognized.run.folder, voices / "ann.wav", bad, missing, voices / "bob.wav"
    )
    assert result.code == 1
    lines = result.err.splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == [str(bad), str(missing)]
    assert lines[2] == "phoneme-moe: 2 of 4 files failed"
    assert [Path(line.split("\t")[0]).name for line in result.out.splitlines()] == [
        "ann.wav",
        "bob.wav",
    ]


@pytest.mark.parametrize("what", ["folder without audio", "unknown format"])
def test_what_cannot_be_transcribed_is_refused(
    phoneme_moe: Command, recognized: Trained, voices: Path, tmp_path: Path, what: str
) -> None:
    run = recognized.run.folder
    if what == "folder without audio":
        assert_one_line(phoneme_moe("transcribe", run, tmp_path), str(tmp_path))
    else:
        assert phoneme_moe("transcribe", run, voices, "--format", "doc").code == 2


@pytest.mark.parametrize("command", ["evaluate", "report", "transcribe"])
def test_a_place_that_cannot_be_written_to_is_named_in_one_line(
    phoneme_moe: Command, recognized: Trained, voices: Path, tmp_path: Path, command: str
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    run = recognized.run.folder
    result = {
        "evaluate": lambda: phoneme_moe("evaluate", run, "--json", blocked / "x.json"),
        "report": lambda: phoneme_moe("report", run, "--out", blocked),
        "transcribe": lambda: phoneme_moe("transcribe", run, voices / "ann.wav", "--out", blocked),
    }[command]()
    assert result.code != 0
    assert "Traceback" not in result.err
    assert str(blocked) in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.slow
def test_training_from_the_command_line_leaves_a_run_that_every_command_takes(
    phoneme_moe: Command, tones: PreparedCorpus, voices: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    quick = ["--set", "training.stages.experts.epochs=1", "--set", "training.stages.gate.epochs=1"]
    recipe = tiny.RECIPES / "tiny_classify.yaml"
    result = phoneme_moe("train", recipe, "--out", run, "--device", "cpu", *quick)
    assert (result.code, result.err) == (0, "")
    for name in ("report/report.html", "evaluation.json"):
        assert str(run / name) in result.out
        assert (run / name).is_file()
    for arguments in (["evaluate", run], ["report", run], ["transcribe", run, voices]):
        assert phoneme_moe(*arguments).code == 0


def test_a_closed_pipe_ends_quietly(recognized: Trained, voices: Path) -> None:
    command = [sys.executable, "-m", "phoneme_moe", "transcribe"]
    read, write = os.pipe()
    os.close(read)  # as by a reader that has gone, before a line is written
    with subprocess.Popen(
        [*command, str(recognized.run.folder), str(voices)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        _, err = communicate(process)
    # Status 1 and no line about a folder or a file: it was the pipe.
    assert (process.returncode, err) == (1, "")
