"""What the shell completes, through the protocol of Typer's completion scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import run

from phoneme_moe.cli import app
from phoneme_moe.corpora import CORPORA
from phoneme_moe.models import shipped_models
from phoneme_moe.recipe import shipped_recipes
from phoneme_moe_reproductions import EXPERIMENTS

RUNS = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Complete:
    """Completes the last of some words, as bash does, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_PHONEME_MOE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["phoneme-moe", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as ended:
            app(prog_name="phoneme-moe")
        out, err = capsys.readouterr()
        assert (ended.value.code, err) == (0, "")
        return out.split()

    return complete


def test_names_that_come_with_the_package(complete: Complete) -> None:
    recipes = list(shipped_recipes())
    assert complete("train", "") == recipes
    assert complete("recipes", "six") == [name for name in recipes if name.startswith("six")]
    assert complete("reproduce", "") == ["list", *EXPERIMENTS]
    assert complete("corpora", "prepare", "") == list(CORPORA)
    assert complete("transcribe", "eng") == list(shipped_models())
    assert complete("evaluate", "english", "--split", "t") == ["train", "test"]


def test_prepared_corpora(
    complete: Complete, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "data"))
    assert complete("corpora", "check", "") == []
    for name in ("mine", "fsdd"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "corpus.json").write_text("{}")
    assert complete("corpora", "check", "") == ["fsdd", "mine"]
    assert complete("evaluate", "english", "--corpus", "m") == ["mine"]


def test_runs_are_found_in_their_usual_folder_and_where_one_types(
    complete: Complete, tmp_path: Path
) -> None:
    for folder in ("runs/one", "runs/two", "elsewhere/three", "elsewhere/four[x]"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.json").write_text("{}")
    (tmp_path / "runs" / "no_run").mkdir()
    shipped = list(shipped_models())
    assert complete("report", "") == [*shipped, "runs/one", "runs/two"]
    assert complete("report", "runs/t") == ["runs/two"]
    assert complete("compare", "runs/one", "elsewhere/") == [
        "elsewhere/four[x]",
        "elsewhere/three",
    ]
    assert complete("report", "elsewhere/four[") == ["elsewhere/four[x]"]
    assert complete("report", str(tmp_path / "elsewhere" / "th")) == [
        str(tmp_path / "elsewhere" / "three")
    ]


def test_experts_of_the_run(complete: Complete) -> None:
    run = str(RUNS / "gate")
    experts = json.loads((RUNS / "gate" / "model.json").read_text())["experts"]
    assert complete("clips", run, "--expert", "") == experts
    assert complete("evaluate", run, "--only-expert", "") == experts
    first, *others = experts
    assert complete("transcribe", run, "x.wav", "--without-expert", f"{first},") == [
        f"{first},{other}" for other in others
    ]


def test_experts_of_a_sparse_run_are_numbered(complete: Complete) -> None:
    assert complete("clips", "english", "--expert", "") == [f"expert_{i}" for i in range(8)]


def test_speakers_of_the_run(
    complete: Complete, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path))  # its corpus is not prepared
    run = str(RUNS / "gate")
    speakers = list(json.loads((RUNS / "gate" / "evaluation.json").read_text())["by_speaker"])
    assert complete("clips", run, "--speaker", "") == speakers
    assert complete("evaluate", run, "--gate-from", "") == ["uniform", *speakers]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"model": 1}', '{"experts": 3}'])
def test_what_cannot_be_read_completes_nothing(
    complete: Complete, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        for name in ("recipe.yaml", "model.json", "evaluation.json"):
            (tmp_path / name).write_text(content)
    assert complete("clips", str(tmp_path), "--expert", "") == []
    assert complete("clips", str(tmp_path), "--speaker", "") == []


@pytest.mark.slow
def test_completion_imports_nothing_heavy() -> None:
    done = run(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "os.environ['_PHONEME_MOE_COMPLETE'] = 'complete_bash'\n"
            "os.environ['COMP_WORDS'] = 'phoneme-moe clips english --speaker '\n"
            "os.environ['COMP_CWORD'] = '4'\n"
            "sys.argv = ['phoneme-moe']\n"
            "from phoneme_moe.cli import main\n"
            "try: main()\n"
            "finally: print([m for m in ('torch', 'lhotse', 'numpy') if m in sys.modules])",
        ]
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    assert done.stdout.splitlines()[-1] == "[]"
