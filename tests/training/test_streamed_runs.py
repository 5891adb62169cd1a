"""Training from shards: resuming, workers, several processes, bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
from safetensors.torch import load_file
from waiting import exit_code, run, wait_until

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.shards import find_shards, shards_folder, write_shards
from phoneme_moe.errors import InputError
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.recipe import load_recipe

if TYPE_CHECKING:
    from conftest import Outcome

RECIPE = tiny.RECIPES / "tiny_sparse.yaml"
CHANGES = (
    "training.stream.batch_seconds=8",
    "training.stream.buffer=40",
    "training.stages.joint.epochs=4",
)


def command(out: Path, changes: Sequence[str], *options: str) -> list[str]:
    settings = [part for change in (*CHANGES, *changes) for part in ("--set", change)]
    words = ["train", str(RECIPE), "--out", str(out), "--device", "cpu", *settings, *options]
    return [sys.executable, "-m", "phoneme_moe", *words]


@pytest.fixture(scope="module")
def shards(tones: PreparedCorpus) -> PreparedCorpus:
    write_shards(tones, 4)
    return tones


@pytest.fixture(scope="module")
def streamed(shards: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without workers and without interruption."""
    out = tmp_path_factory.mktemp("streamed") / "run"
    outcome = run(command(out, ["training.stream.workers=0"]))
    assert outcome.returncode == 0, outcome.stderr
    return out


def test_it_learns(streamed: Path) -> None:
    rows = read_rows(streamed / "metrics.csv")
    assert len(rows) == 4
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    assert load_file(streamed / "model.safetensors")


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_with_workers_it_ends_with_the_same_weights(
    streamed: Path, tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "run"
    argv = command(out, [f"training.stream.workers={workers}"])
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until((out / "checkpoints" / "1_joint" / "last.ckpt").exists, process)
        process.kill()
        assert exit_code(process) == -signal.SIGKILL
    outcome = run([*argv, "--resume"])
    assert outcome.returncode == 0, outcome.stderr
    for name in ("model.safetensors", "metrics.csv"):
        assert (out / name).read_bytes() == (streamed / name).read_bytes(), name


def test_two_processes_have_the_losses_of_one(streamed: Path, tmp_path: Path) -> None:
    certain = [
        "training.augmentation={}",
        "model.encoder.dropout=0",
        "model.encoder.sparse.dropout=0",
        "model.encoder.sparse.router.noise=none",
        "training.stages.joint.epochs=2",
    ]
    for name, options in (("one", ()), ("two", ("--devices", "2"))):
        outcome = run(command(tmp_path / name, certain, *options))
        assert outcome.returncode == 0, outcome.stderr
    one, two = (read_rows(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    for row, other in zip(one, two, strict=True):
        assert float(other["loss"]) == pytest.approx(float(row["loss"]), abs=1e-5)
        assert other["dev_error"] == row["dev_error"]


def test_damaged_audio_is_one_line_from_a_worker(shards: PreparedCorpus, tmp_path: Path) -> None:
    archive = find_shards(shards)[2].audio_file
    intact = archive.read_bytes()
    try:
        damaged = intact.replace(b"fLaC", b"none", 3)
        archive.write_bytes(damaged)
        outcome = run(command(tmp_path / "run", ["training.stream.workers=1"]))
    finally:
        archive.write_bytes(intact)
    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert outcome.stderr.startswith("phoneme-moe: utterance ")
    assert "not readable as audio" in outcome.stderr


def test_without_shards_the_command_that_makes_them_is_named(
    alien: PreparedCorpus, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert not shards_folder(alien).exists()
    changes = [f"corpus.name={alien.name}", *CHANGES]
    settings = [part for change in changes for part in ("--set", change)]
    outcome = phoneme_moe("train", RECIPE, "--out", tmp_path / "run", *settings)
    assert outcome.code == 1
    assert outcome.err.startswith(f"phoneme-moe: corpus {alien.name!r} has no shards: no ")
    assert outcome.err.endswith(f"run: phoneme-moe corpora shard {alien.name} --shards N\n")


@pytest.mark.parametrize(
    ("recipe", "change"),
    [
        ("tiny_classify.yaml", "training.stages.experts.epochs=1"),
        ("tiny_sparse.yaml", "corpus.max_utterances=3"),
    ],
)
def test_what_needs_all_utterances_at_once_is_refused(recipe: str, change: str) -> None:
    changes = ["training.stream.workers=0", change]
    with pytest.raises(InputError, match=r"training\.stream: found .*, which needs all utterances"):
        load_recipe(tiny.RECIPES / recipe, changes)
