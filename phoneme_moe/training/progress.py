"""Progress of a stage on stderr: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import Tensor

from phoneme_moe.system.console import PlainConsole
from phoneme_moe.system.terminal import print_error
from phoneme_moe.training.module import StageModule

MAX_LOADS = 6
"""Above this number of experts, only the smallest and the largest load are shown."""


class StageProgressBar(Callback):
    """One line on stderr per stage: progress, remaining time, loss, dev error, expert load."""

    SECONDS_BETWEEN_UPDATES = 0.2

    def __init__(self, stage: str, console: Console | None = None) -> None:
        """Builds the line without showing it.

        Args:
            stage: Name of the stage.
            console: Where it is drawn; stderr by default.
        """
        whole = Column(no_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=whole),
            TextColumn("{task.fields[figures]}", table_column=whole),
            console=console or PlainConsole(stderr=True),
            expand=True,
        )
        self.stage = stage
        self.task = self.progress.add_task(stage, total=None, figures="")
        self.updated = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows the line, from the epoch at which training starts."""
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        self.progress.update(self.task, total=total)
        self._show(trainer, pl_module)
        self.progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Updates at most a few times a second, since metrics are copied from the device."""
        if time.monotonic() - self.updated > self.SECONDS_BETWEEN_UPDATES:
            self._show(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows the epoch's error."""
        self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the line on the screen."""
        self.progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leaves the line on the screen."""
        self.progress.stop()

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        epochs = trainer.max_epochs or 0
        epoch = min(trainer.current_epoch + 1, epochs)
        self.progress.update(
            self.task,
            completed=trainer.global_step,
            description=f"{self.stage} {epoch}/{epochs}",
            figures=stage_figures(pl_module, trainer.callback_metrics.get("dev_error")),
        )
        self.updated = time.monotonic()


class StageLog(Callback):
    """Lines on stderr where no terminal shows a bar, one a minute at most.

    An epoch is reported at its end; one of more than a minute, in between as well.
    """

    SECONDS_BETWEEN_LINES = 60.0

    def __init__(self, stage: str) -> None:
        """Starts counting.

        Args:
            stage: Name of the stage.
        """
        self.stage = stage
        self.began = self.printed = self.epoch_began = time.monotonic()
        self.first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remembers where a resumed stage goes on."""
        self.began = time.monotonic()
        self.first_step = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Times the epoch."""
        self.epoch_began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Reports within a long epoch."""
        if time.monotonic() - self.epoch_began >= self.SECONDS_BETWEEN_LINES:
            self._report(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports the epoch."""
        self._report(trainer, pl_module)

    def _report(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        now = time.monotonic()
        if now - self.printed < self.SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        epochs = trainer.max_epochs or 0
        figures = stage_figures(pl_module, trainer.callback_metrics.get("dev_error"))
        done = trainer.global_step - self.first_step
        to_do = int(trainer.num_training_batches) * epochs - trainer.global_step
        left = (now - self.began) / max(done, 1) * to_do / 60
        print_error(
            f"{self.stage} {min(trainer.current_epoch + 1, epochs)}/{epochs}: {figures}, "
            f"{left:.0f} min left"
        )


def stage_figures(module: StageModule, dev_error: Tensor | None) -> str:
    """Loss, dev error and load of the experts, in one line."""
    if not module.num_steps:
        return ""
    text = f"loss {module.mean_loss:.3f}"
    if dev_error is not None:
        text += f" error {100 * dev_error:.1f} %"
    shares = [round(100 * load) for load in module.load.tolist()]
    if len(shares) > MAX_LOADS:
        text += f" load {min(shares)} to {max(shares)} %"
    elif len(shares) > 1:
        text += f" load {' '.join(map(str, shares))} %"
    layers = module.router_metrics.measure()
    if layers:
        # Of the worst layer: coefficient of variation of the load, number of dead experts.
        worst = max(layers, key=lambda layer: (len(layer.dead), layer.variation))
        text += f" load cv {worst.variation:.2f}"
        if worst.dead:
            text += f" dead {len(worst.dead)}/{len(worst.load)}"
        # Only one of the two fits into 80 columns.
        if worst.dropped:
            text += f" dropped {100 * worst.dropped:.0f} %"
        else:
            text += f" entropy {worst.entropy:.1f}"
    return text
