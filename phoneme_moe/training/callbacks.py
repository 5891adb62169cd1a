"""What a stage leaves behind while it runs: checkpoints, metrics, a progress bar."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

from phoneme_moe.run import atomic_path, write_text
from phoneme_moe.training.module import StageModule


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there, whenever the process is killed.

    Lightning's own goes through the system's temporary folder, from which a move is a copy, and
    not atomic, when that is another file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes beside the target, then renames."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class MetricsFile(Callback):
    """Writes ``metrics.csv``, a row for each epoch of every stage.

    The rows are part of the checkpoint and the file is written anew each time, so that after a
    resume it holds every epoch once.
    """

    def __init__(self, path: Path, stage: str, earlier_rows: list[dict[str, Any]]) -> None:
        """Goes on after earlier stages.

        Args:
            path: The file.
            stage: Name of this stage.
            earlier_rows: Of the stages before.
        """
        self.path = path
        self.stage = stage
        self.rows = earlier_rows

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch."""
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row: dict[str, Any] = {
            "stage": self.stage,
            "epoch": trainer.current_epoch,
            "learning_rate": rate,
        }
        self.rows = [*self.rows, row | metrics]
        write_rows(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows, plain types only."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows up again."""
        self.rows = state_dict["rows"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as CSV; columns in the order in which they first occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads rows back; numbers as numbers, so that they are written back the same."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                k: v if k == "stage" else (int(v) if k == "epoch" else float(v))
                for k, v in row.items()
                if v
            }
            for row in csv.DictReader(file)
        ]


class StageProgressBar(RichProgressBar):
    """Lightning's rich bar on stderr, with the stage's name and each expert's share in per cent."""

    def __init__(self, stage: str) -> None:
        super().__init__(
            leave=True,
            theme=RichProgressBarTheme(metrics_format=".4f"),
            console_kwargs={"stderr": True},
        )
        self.stage = stage

    def _get_train_description(self, current_epoch: int) -> str:
        max_epochs = self.trainer.max_epochs
        return f"{self.stage} {current_epoch + 1}/{max_epochs}"

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Loss, error on dev, and load."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if isinstance(pl_module, StageModule) and len(pl_module.load) > 1:
            shares = [f"{100 * load:.0f}" for load in pl_module.load.tolist()[:8]]
            more = " ..." if len(pl_module.load) > 8 else ""
            metrics["load %"] = " ".join(shares) + more
        return metrics
