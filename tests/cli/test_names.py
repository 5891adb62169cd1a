"""Whatever a recording or a speaker is called: shown, written, and never in the way of others."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.files.csv_text import original_cell
from phoneme_moe.files.writing import path_text
from phoneme_moe.pipeline import Trained
from phoneme_moe.system.terminal import printable
from phoneme_moe.transcription.formats import FORMATS

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]

BYTES = [b"caf\xe9", b"\xff\xfe", b"caf\\xe9", b"\\back\\slash"]
CONTROL = ["a\nb", "a\tb", "a\rb", "\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "\x7f", "a\u2028b"]
HIDDEN = ["\u202egnp", "\u2066iso", "\u200bzero", "caf\u00e9", "cafe\u0301", "語", "\U0001f600"]
SHELL = ["-dash", "--help", "'single'", '"double"', "$(touch x)", "`id`", "a;b|c&d", "%s%n", "~"]
MARKUP = ["[red]bold[red]", "[-]", ":smile:", "<script>", "&amp;", "$x^{$"]
TABLES = ["=1+2", "+cmd", "@SUM(A1)"]
PATTERNS = ["*", "a?", "a[1]", "{x}"]
WINDOWS = ["con", "nul", "trailing.", " lead ", "12:30", "A", "a"]
LONG = ["x" * 236, "語" * 78]
TEXT = [*CONTROL, *HIDDEN, *SHELL, *MARKUP, *TABLES, *PATTERNS, *WINDOWS, *LONG]
NAMES = [*map(os.fsdecode, BYTES), *TEXT]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    samples, _ = tiny.speak(["a", "s", "i"], "ann", np.random.default_rng(5))
    soundfile.write(path, samples, tiny.RATE)
    return path


@pytest.fixture(scope="module")
def folder(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings with all the names, each with a label file."""
    folder = tmp_path_factory.mktemp("names")
    for name in NAMES:
        shutil.copy(recording, folder / f"{name}.wav")
        (folder / f"{name}.txt").write_text("a s i")
    return folder


def paths(folder: Path) -> list[Path]:
    return [folder / f"{name}.wav" for name in NAMES]


def assert_harmless(text: str) -> None:
    """Nothing in it controls a terminal."""
    assert text == printable(text, keep="\n\t")


def test_text_has_a_line_for_each(phoneme_moe: Command, recognized: Trained, folder: Path) -> None:
    text = phoneme_moe("transcribe", recognized.run.folder, folder)
    assert (text.code, text.err) == (0, "")
    assert_harmless(text.out)
    rows = [line.split("\t") for line in text.out.split("\n")[:-1]]
    assert sorted(row[0] for row in rows) == sorted(printable(str(path)) for path in paths(folder))


def test_csv_has_no_formulas(phoneme_moe: Command, recognized: Trained, folder: Path) -> None:
    bare = [Path(name) for name in ("=1+2.wav", "@SUM(A1).wav", "+cmd.wav")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        table = phoneme_moe("transcribe", recognized.run.folder, *bare, "--format", "csv")
    assert (table.code, table.err) == (0, "")
    cells = {row["file"] for row in csv.DictReader(io.StringIO(table.out))}
    assert cells == {f"'{path}" for path in bare}
    assert {original_cell(cell) for cell in cells} == set(map(str, bare))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_json_is_whole_in_any_encoding(
    recognized: Trained, folder: Path, environment: dict[str, str]
) -> None:
    command = ["-m", "phoneme_moe", "transcribe", recognized.run.folder, folder, "--format", "json"]
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8"))
    assert_harmless(text)
    files = [json.loads(line)["file"] for line in text.split("\n")[:-1]]
    assert sorted(files) == sorted(path_text(path) for path in paths(folder))


def test_every_format_is_written_once(
    phoneme_moe: Command, recognized: Trained, folder: Path, tmp_path: Path
) -> None:
    command = ["transcribe", recognized.run.folder, folder, "--format", "all", "--out", tmp_path]
    written = phoneme_moe(*command)
    assert (written.code, written.err) == (0, "")
    assert_harmless(written.out)
    names = [path.name for path in tmp_path.glob("[!.]*")]
    assert len({name.lower() for name in names}) == len(names) == len(NAMES) * len(FORMATS)
    files = {json.loads(path.read_bytes())["file"] for path in tmp_path.glob("*.json")}
    assert files == {path_text(path) for path in paths(folder)}
    again = phoneme_moe(*command, "--skip-done")
    assert again.err == f"{len(NAMES)} of {len(NAMES)} already done\n"


def test_errors_are_one_line_each(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.wav").write_bytes(b"no audio at all")
    failed = phoneme_moe("transcribe", recognized.run.folder, tmp_path)
    assert (failed.code, failed.out) == (1, "")
    assert_harmless(failed.err)
    *lines, last = failed.err.split("\n")[:-1]
    assert len(lines) == len(NAMES)
    assert all(line.startswith("phoneme-moe: ") for line in lines)
    assert last == f"phoneme-moe: {len(NAMES)} of {len(NAMES)} files failed"


@pytest.mark.parametrize("format", ["table", "json", "csv", "textgrid", "ctm", "srt", "vtt"])
def test_alignments_of_all(
    phoneme_moe: Command, recognized: Trained, folder: Path, format: str
) -> None:
    for path in paths(folder)[:: 1 if format == "json" else 9]:
        command = ["align", recognized.run.folder, path, "--phonemes", "a s i", "--format", format]
        aligned = phoneme_moe(*command)
        assert (aligned.code, aligned.err) == (0, "")
        assert_harmless(aligned.out)


def test_a_new_speaker_with_any_name(
    phoneme_moe: Command, recognized: Trained, folder: Path, tmp_path: Path
) -> None:
    command = ["adapt", recognized.run.folder, folder, "--speaker", "=zo\x1b[31m\u202e[/x]"]
    adapted = phoneme_moe(*command, "--new-expert", "--out", tmp_path / "zo\x1b[31m")
    assert (adapted.code, adapted.err) == (0, "")
    assert_harmless(adapted.out)
    assert r"=zo\x1b[31m\u202e[/x]" in adapted.out
    again = phoneme_moe(
        "transcribe", tmp_path / "zo\x1b[31m", folder / "con.wav", "--format", "csv"
    )
    assert (again.code, again.err) == (0, "")
    assert_harmless(again.out)


def test_speakers_with_any_name(phoneme_moe: Command, recording: Path, tmp_path: Path) -> None:
    speakers = [name for name in TEXT if not name.startswith(".") and name.strip()]
    for speaker in speakers[::5]:
        for number in range(4):
            path = tmp_path / "source" / speaker / f"u{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recording, path)
            path.with_suffix(".txt").write_text("a s i")
    run, corpus = tmp_path / "run", "oddly_named"
    recipe = tiny.RECIPES / "tiny_recognize.yaml"
    chosen = ["--set", f"corpus.name={corpus}", "--set", "corpus.speakers=null"]
    for command in (
        ["corpora", "prepare", "folder", "--from", tmp_path / "source", "--as", corpus],
        ["corpora", "check", corpus],
        ["train", recipe, "--out", run, *chosen],
        ["evaluate", run],
        ["report", run],
        ["clips", run, "--limit", "20"],
        ["model", run],
    ):
        outcome = phoneme_moe(*command)
        assert (command[0], outcome.code, outcome.err) == (command[0], 0, "")
        assert_harmless(outcome.out)
    for table in (run / "report" / "routing.csv", run / "clips" / "clips.csv", run / "metrics.csv"):
        with table.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert_harmless("".join(cells))
        for cell in cells:
            if cell[:1] in "=+-@" and len(cell) > 1:
                float(cell)
