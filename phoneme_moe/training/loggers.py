"""Experiment trackers besides TensorBoard, by Lightning's own loggers.

Their packages are not dependencies: who names a tracker has installed it, and logged in where it
needs that. Each stage is a run of its own there, since its epochs count from 0.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phoneme_moe.errors import ArgumentError, suggest
from phoneme_moe.extensions import Registry

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from phoneme_moe.recipe import Recipe, Stage

PROJECT = "phoneme_moe"
"""Project in W&B and experiment in MLflow, unless their environment variables name another."""


@dataclass(frozen=True)
class Tracker:
    """An experiment tracker.

    Attributes:
        package: The package that it needs.
        open: Creates Lightning's logger for a stage of a recipe in a run folder.
    """

    package: str
    open: Callable[[Path, Recipe, Stage], Logger]


def _wandb(folder: Path, recipe: Recipe, stage: Stage) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    class StageLogger(WandbLogger):
        """Ends its run with the stage; otherwise the next stage would go on in it."""

        def finalize(self, status: str) -> None:
            super().finalize(status)
            self.experiment.finish()

    return StageLogger(
        name=f"{recipe.name}/{stage.name}",
        group=recipe.name,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        save_dir=folder,
    )


def _mlflow(folder: Path, recipe: Recipe, stage: Stage) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    return MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=f"{recipe.name}/{stage.name}",
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
        tags={"folder": str(folder)},
    )


TRACKERS = Registry(
    "phoneme_moe.trackers",
    Tracker,
    {"wandb": Tracker("wandb", _wandb), "mlflow": Tracker("mlflow", _mlflow)},
)
"""By the names that ``train`` takes."""


def check_trackers(names: Sequence[str]) -> None:
    """Checks, without importing them, that trackers are known and installed.

    Raises:
        ArgumentError: One is not.
    """
    for name in names:
        if name not in TRACKERS:
            raise ArgumentError("loggers", f"found {name!r}{suggest(name, TRACKERS)}")
        package = TRACKERS[name].package
        if importlib.util.find_spec(package) is None:
            raise ArgumentError(
                "loggers",
                f"{name} is not installed: pip install {package} (TensorBoard needs none)",
            )


def open_trackers(names: Sequence[str], folder: Path, recipe: Recipe, stage: Stage) -> list[Logger]:
    """Opens trackers for a stage, and stores the recipe in them.

    Args:
        names: Names in ``TRACKERS``.
        folder: The run folder.
        recipe: The recipe.
        stage: Its stage.

    Raises:
        ArgumentError: One cannot be opened, such as without a login or a connection.
    """
    loggers = []
    for name in names:
        try:
            logger = TRACKERS[name].open(folder, recipe, stage)
            logger.log_hyperparams(recipe.model_dump(mode="json"))
        except Exception as error:  # each tracker has exceptions of its own
            line = next(iter(str(error).splitlines()), type(error).__name__)
            raise ArgumentError("loggers", f"{name}: {line}") from error
        loggers.append(logger)
    return loggers
