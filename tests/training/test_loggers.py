"""Experiment trackers: each stage in a run of its own, with the recipe and every epoch."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny
import yaml
from lightning.pytorch.loggers import CSVLogger, Logger

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import Recipe, Stage, load_recipe
from phoneme_moe.training.loggers import TRACKERS, Tracker

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]


def csv_logger(folder: Path, recipe: Recipe, stage: Stage) -> Logger:
    return CSVLogger(folder / "tracked", name=recipe.name, version=stage.name)


def refused(folder: Path, recipe: Recipe, stage: Stage) -> Logger:
    raise RuntimeError("no login\nand a second line")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["gradient", "em"])
def test_a_tracker_gets_recipe_and_epochs_of_every_stage(
    tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setitem(TRACKERS.items_here, "rows", Tracker("csv", csv_logger))
    changes = []
    if optimizer == "em":
        em = "{name: em, train: [experts, gate], optimizer: em, epochs: 2}"
        changes = [
            "model.expert={kind: linear}",
            "model.gate={kind: linear}",
            f"training.stages=[{em}]",
        ]
    recipe = load_recipe(tiny.RECIPES / "tiny_classify.yaml", changes)
    train(recipe, tmp_path / "run", device="cpu", loggers=["rows"])
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        expected: dict[str, list[dict[str, Any]]] = {}
        for row in csv.DictReader(file):
            expected.setdefault(row["stage"], []).append(row)
    assert list(expected) == [stage.name for stage in recipe.training.stages]
    for stage, rows in expected.items():
        folder = tmp_path / "run" / "tracked" / recipe.name / stage
        stored = yaml.safe_load((folder / "hparams.yaml").read_text())
        assert Recipe.model_validate(stored) == recipe
        with (folder / "metrics.csv").open(newline="") as file:
            errors = [float(row["dev_error"]) for row in csv.DictReader(file) if row["dev_error"]]
        assert errors == pytest.approx([float(row["dev_error"]) for row in rows], abs=1e-6)


def test_a_tracker_that_cannot_be_used_is_refused_before_training(
    phoneme_moe: Command, tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS.items_here, "absent", Tracker("no_such_package", refused))
    recipe = tiny.RECIPES / "tiny_classify.yaml"
    for name, problem in (
        ("wandbb", "found 'wandbb' (did you mean 'wandb'?)"),
        ("absent", "absent is not installed: pip install no_such_package"),
    ):
        result = phoneme_moe("train", recipe, "--out", tmp_path / "run", "--logger", name)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(f"phoneme-moe: --logger: {problem}")
        assert len(result.err.splitlines()) == 1
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_tracker_that_does_not_open_is_one_line(
    phoneme_moe: Command, tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS.items_here, "closed", Tracker("csv", refused))
    recipe = tiny.RECIPES / "tiny_classify.yaml"
    result = phoneme_moe(
        "train", recipe, "--out", tmp_path, "--logger", "closed", "--device", "cpu"
    )
    assert result == (1, "", "phoneme-moe: --logger: closed: no login\n")


@pytest.mark.slow
def test_wandb_has_a_run_for_each_stage(
    tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs wandb, which is no dependency")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = load_recipe(tiny.RECIPES / "tiny_classify.yaml")
    train(recipe, tmp_path / "run", device="cpu", loggers=["wandb"])
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(runs) == len(recipe.training.stages)


@pytest.mark.slow
def test_mlflow_has_a_run_for_each_stage(
    tones: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow, which is no dependency")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    recipe = load_recipe(tiny.RECIPES / "tiny_classify.yaml")
    train(recipe, tmp_path / "run", device="cpu", loggers=["mlflow"])
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("phoneme_moe")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {f"{recipe.name}/{stage.name}" for stage in recipe.training.stages}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert "dev_error" in run.data.metrics
