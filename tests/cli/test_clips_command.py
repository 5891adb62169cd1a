from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.clips import folder as clips_folder

Command = Callable[..., Any]
WRITTEN = {"index.html", "clips.csv", "clips"}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(result: Any, *words: str) -> None:
    assert result.code == 1
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("phoneme-moe: ")
    for word in words:
        assert word in lines[0]


def test_it_says_what_it_wrote_and_where(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(recognized.run.folder, run)
    result = phoneme_moe("clips", run, "--speaker", "ann", "--phoneme", "a")
    assert (result.code, result.err) == (0, "")
    assert "run tones test: speaker ann, phoneme a\n" in result.out
    assert f"page:       {run / 'clips' / 'index.html'}\n" in result.out
    assert {path.name for path in (run / "clips").iterdir()} == WRITTEN
    again = phoneme_moe("clips", run, "--limit", 3, "--context", 0)
    assert "clips 3 of " in again.out
    assert len(list((run / "clips" / "clips").iterdir())) == 3
    assert {path.name for path in run.iterdir()} - {"clips"} == {
        path.name for path in recognized.run.folder.iterdir()
    }


def test_the_same_twice_is_the_same(
    phoneme_moe: Command, classified: Trained, tmp_path: Path
) -> None:
    run = classified.run.folder
    for name in ("one", "two"):
        assert phoneme_moe("clips", run, "--limit", 7, "--out", tmp_path / name).code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speaker", "anne"], ["--speaker: corpus tones has no speaker 'anne'", "'ann'"]),
        (["--speaker", "zz"], ["'zz'", "ann, bob, carol, dan"]),
        (["--expert", "car"], ["--expert: ", "no expert 'car'", "'carol'"]),
        (["--phoneme", "zz"], ["--phoneme: corpus tones has no phoneme 'zz'", "a, i, m, s"]),
        (["--layer", "block_2"], ["block_2"]),
        (["--split", "tests"], ["'test'"]),
        (["--corpus", "nowhere"], ["nowhere"]),
    ],
)
def test_what_is_not_there_is_named_with_what_there_is(
    phoneme_moe: Command,
    recognized: Trained,
    tmp_path: Path,
    options: list[str],
    words: list[str],
) -> None:
    out = tmp_path / "deep" / "clips"
    refused(phoneme_moe("clips", recognized.run.folder, *options, "--out", out), *words)
    assert list(tmp_path.iterdir()) == []


def test_nothing_behind_the_cell_is_an_error_of_one_line(
    phoneme_moe: Command, classified: Trained, tmp_path: Path
) -> None:
    # The corpus has an s, but this run is not asked to name it.
    run = classified.run.folder
    result = phoneme_moe("clips", run, "--phoneme", "s", "--wrong", "--out", tmp_path / "clips")
    refused(result, "no clip of tones test matches phoneme s, wrong only (")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--limit", 0), ("--context", -1)])
def test_numbers_out_of_range_are_refused(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path, option: tuple[str, int]
) -> None:
    result = phoneme_moe("clips", recognized.run.folder, *option, "--out", tmp_path / "clips")
    assert result.code == 2
    assert option[0] in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["a file", "other files", "clips and another file", "odd clips"])
def test_only_a_folder_of_clips_is_replaced(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    elif what == "other files":
        out.mkdir()
        (out / "index.html").write_text("mine")
    else:
        assert phoneme_moe("clips", recognized.run.folder, "--limit", 2, "--out", out).code == 0
        (out / ("notes.txt" if what.startswith("clips") else "clips/mine.wav")).write_text("mine")
    before = contents(tmp_path)
    result = phoneme_moe("clips", recognized.run.folder, "--out", out)
    refused(result, str(out), "not a folder of clips", "--out")
    assert contents(tmp_path) == before


def test_a_failure_leaves_the_former_clips_and_nothing_else(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (tmp_path / "out").mkdir()  # an empty one may be filled
    assert phoneme_moe("clips", recognized.run.folder, "--limit", 2, "--out", out).code == 0
    before = contents(tmp_path)
    whole = clips_folder.cut_clips

    def broken(*arguments: Any) -> Any:
        yield next(iter(whole(*arguments)))
        raise InputError("utterance x: its recording cannot be read")

    monkeypatch.setattr(clips_folder, "cut_clips", broken)
    refused(phoneme_moe("clips", recognized.run.folder, "--out", out), "cannot be read")
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
