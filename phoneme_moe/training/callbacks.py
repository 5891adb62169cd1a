"""Callbacks of a stage: checkpoints, metrics, a warning of dead experts."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, WeightAveraging

from phoneme_moe.files.metrics_file import Row, check_rows, read_rows, write_rows
from phoneme_moe.files.writing import write_bytes
from phoneme_moe.recipe import Sparse
from phoneme_moe.system.ranks import is_first_rank
from phoneme_moe.system.terminal import print_error, printable
from phoneme_moe.training.checkpoints import read_checkpoint
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.router_metrics import advice


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are complete or absent, even if the process is killed.

    Lightning's own writes to the system's temporary folder first; if that is on another file
    system, moving the file is a copy and not atomic.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes to a temporary file beside the target, then renames it."""
        # Not written by torch, whose error of a full disk is a RuntimeError.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getvalue(), durable=True)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint as data, whatever the arguments are."""
        return read_checkpoint(Path(path))


class MetricsFile(Callback):
    """Writes ``metrics.csv`` (a row per epoch of every stage) and ``seconds.csv``.

    The rows are part of the checkpoint and the files are rewritten each time, so that after
    resuming they contain every epoch once. Times are kept in a separate file, since they are not
    reproducible.
    """

    def __init__(self, path: Path, stage: str, earlier_rows: list[Row]) -> None:
        """Continues after earlier stages.

        Args:
            path: Path of ``metrics.csv``.
            stage: Name of this stage.
            earlier_rows: Rows of the stages before.
        """
        self.path = path
        self.stage = printable(stage)
        self.rows = earlier_rows
        self.times = read_rows(path.with_name("seconds.csv"))
        self.times = [row for row in self.times if row["stage"] != self.stage]
        self.began = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts timing the epoch."""
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch."""
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.add({"epoch": trainer.current_epoch, "learning_rate": rate, **metrics})

    def add(self, figures: dict[str, Any]) -> None:
        """Adds the metrics of an epoch and writes the file."""
        # As the file has them, so that rows of this process and rows read from it agree.
        named = {printable(name): value for name, value in figures.items()}
        self.rows = [*self.rows, {"stage": self.stage, **named}]
        seconds = round(time.monotonic() - self.began, 3)
        self.times = [
            *self.times,
            {"stage": self.stage, "epoch": figures["epoch"], "seconds": seconds},
        ]
        if is_first_rank():
            write_rows(self.path, self.rows)
            write_rows(self.path.with_name("seconds.csv"), self.times)
        self.began = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The rows as plain types."""
        return {"rows": self.rows, "times": self.times}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the rows.

        Raises:
            TypeError: They are not rows.
        """
        self.rows = check_rows(state_dict["rows"])
        self.times = check_rows(state_dict["times"])


def weight_averaging(decay: float) -> WeightAveraging:
    """An exponential moving average of the weights, which dev evaluates and the stage keeps.

    The decay is lower in the first steps (as in TensorFlow's ``ExponentialMovingAverage``), so that
    the random initial weights do not persist.

    Args:
        decay: Decay per step after many steps, 0..1.
    """

    def update(averages: Any, current: Any, num_averaged: Any) -> None:
        steps = int(num_averaged)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        for average, weight in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)
            else:
                average.copy_(weight)

    # Buffers (selection biases) are not averaged.
    return WeightAveraging(use_buffers=False, multi_avg_fn=update)


class RouterWarning(Callback):
    """Warns once if experts are dead, naming the setting to change."""

    FIRST_EPOCH = 1
    """No warning before this epoch, counted from 0."""

    def __init__(self, sparse: Sparse) -> None:
        self.sparse = sparse
        self.warned = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks the router metrics of the epoch."""
        assert isinstance(pl_module, StageModule)
        if self.warned or trainer.current_epoch < self.FIRST_EPOCH:
            return
        line = advice(self.sparse, pl_module.router_metrics.measure())
        if line is not None:
            self.warned = True
            if is_first_rank():
                print_error(f"warning: epoch {trainer.current_epoch + 1}: {line}")

    def state_dict(self) -> dict[str, Any]:
        """Whether the warning was printed, so that a resumed run does not repeat it."""
        return {"warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores whether the warning was printed."""
        # Checkpoints of version 0.1 call it "said".
        self.warned = state_dict.get("warned", state_dict.get("said", False))
