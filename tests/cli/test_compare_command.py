from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoneme_moe.pipeline import Trained

Command = Callable[..., Any]


def test_the_command_prints_the_verdict_and_says_where_the_rest_is(
    phoneme_moe: Command, recognized: Trained, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recognized.run.folder, copy)
    result = phoneme_moe("compare", recognized.run.folder, copy)
    assert (result.code, result.err) == (0, "")
    assert "both runs route every frame the same way" in " ".join(result.out.split())
    folder = copy / "compare" / recognized.run.folder.name
    assert f"{folder / 'comparison.html'}" in result.out
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.html", "comparison.json"]
    lines = result.out.splitlines()
    assert len(lines) <= 33
    assert max(len(line) for line in lines if str(folder) not in line) <= 80


def test_split_and_folder_are_chosen(
    phoneme_moe: Command, classified: Trained, tmp_path: Path
) -> None:
    run = classified.run.folder
    result = phoneme_moe("compare", run, run, "--split", "dev", "--out", tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (document["split"], document["unit"]) == ("dev", "token")
    assert document["error_rate"]["measure"] == "token_error_rate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "block_7"], "no layer 'block_7'"),
        (["--layer-b", "block_7"], "no layer 'block_7'"),
        (["--split", "tset"], "split 'tset' does not exist (did you mean 'test'?)"),
        (["--corpus", "nowhere"], "corpus 'nowhere' is unknown"),
        (["--corpus", "alien"], "none of its phonemes"),
    ],
)
def test_wrong_input_is_one_line(
    phoneme_moe: Command,
    recognized: Trained,
    alien: object,
    options: list[str],
    message: str,
    tmp_path: Path,
) -> None:
    run = recognized.run.folder
    result = phoneme_moe("compare", run, run, "--out", tmp_path / "out", *options)
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_run_is_named(phoneme_moe: Command, recognized: Trained, tmp_path: Path) -> None:
    for runs in ([recognized.run.folder, tmp_path / "no"], [tmp_path / "no", tmp_path]):
        result = phoneme_moe("compare", *runs)
        assert (result.code, result.out) == (1, "")
        assert result.err.strip() == f"phoneme-moe: {tmp_path / 'no'}: no such run folder"
