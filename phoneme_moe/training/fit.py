"""Training of one stage by gradient descent (Lightning) or EM, with resuming."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.data.stream import SpeechStream
from phoneme_moe.decoding.ctc_crf import ORDER
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.errors import TrainingInterruptedError
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Stage
from phoneme_moe.run_folder import choose_device, save_weights
from phoneme_moe.system.console import PlainConsole
from phoneme_moe.system.ranks import (
    is_first_rank,
    num_ranks,
    ranks_of_this_machine,
    wait_for_all,
)
from phoneme_moe.training.cached_experts import (
    expert_posteriors_are_constant,
    posteriors_fit_in_memory,
    with_expert_posteriors,
)
from phoneme_moe.training.callbacks import (
    AtomicCheckpointIO,
    MetricsFile,
    RouterWarning,
    weight_averaging,
)
from phoneme_moe.training.checkpoints import (
    ResumeCheck,
    StageCheckpoint,
    read_checkpoint_weights,
    repeatable,
)
from phoneme_moe.training.em import em_epochs
from phoneme_moe.training.loaders import dev_loader, phoneme_sequences, training_loader
from phoneme_moe.training.loggers import open_trackers
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.progress import StageLog, StageProgressBar
from phoneme_moe.training.sharded_encoder import encoder_sharded
from phoneme_moe.training.spread import AveragingStrategy, experts_spread
from phoneme_moe.training.teacher import HiddenStateTeacher, PosteriorTeacher


@dataclass(frozen=True)
class StageFolder:
    """Checkpoints of a stage."""

    path: Path

    @classmethod
    def of(cls, run: Path, index: int, stage: Stage) -> StageFolder:
        """The folder of a stage, numbered by its position."""
        return cls(run / "checkpoints" / f"{index + 1}_{stage.name}")

    @property
    def last(self) -> Path:
        """Checkpoint after the last complete epoch."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint after the epoch with the fewest errors on dev."""
        return self.path / "best.ckpt"

    @property
    def final(self) -> Path:
        """Final weights of the stage; exists only once the stage has ended."""
        return self.path / "final.safetensors"


def fit_stage(
    recognizer: Recognizer,
    recipe: Recipe,
    index: int,
    train: Sequence[Example] | SpeechStream,
    dev: Sequence[Example],
    folder: Path,
    device: str,
    trackers: Sequence[str] = (),
    spread: bool = False,
    shard: bool = False,
) -> None:
    """Trains a stage and writes its metrics and final weights.

    Processes that train together (``system.ranks``) call it with equal models and examples.

    Args:
        recognizer: Model to train in place.
        recipe: The recipe that contains the stage.
        index: Index of the stage.
        train: Training examples, or the stream of them.
        dev: Examples for evaluation after each epoch.
        folder: The run folder; an interrupted attempt at the stage is resumed.
        device: ``cpu``, ``cuda`` or ``auto``.
        trackers: Experiment trackers besides TensorBoard (``training.loggers``).
        spread: Whether each process holds a part of the experts (``training.spread``).
        shard: Whether each process holds a shard of the pretrained encoder's trained weights
            (``training.sharded_encoder``), if the stage trains any.

    Raises:
        InputError: The data need too much memory for EM, a tracker cannot be opened, or there are
            more processes than examples.
        TrainingInterruptedError: The user pressed Ctrl-C.
    """
    stage = recipe.training.stages[index]
    earlier = [s.name for s in recipe.training.stages[:index]]
    metrics_path = folder / "metrics.csv"
    metrics = MetricsFile(
        metrics_path,
        stage.name,
        [row for row in read_rows(metrics_path) if row["stage"] in earlier],
    )
    loggers = [
        TensorBoardLogger(folder, name="tensorboard", version=f"{index + 1}_{stage.name}"),
        *(open_trackers(trackers, folder, recipe, stage) if is_first_rank() else ()),
    ]
    weights: dict[str, Tensor] = {}
    try:
        if stage.optimizer == "em" and not isinstance(train, SpeechStream):
            if is_first_rank():  # the others wait for its weights
                weights = _fit_by_em(recognizer, stage, train, dev, metrics, loggers)
        else:
            shards = shard and "experts" in stage.train
            with (
                experts_spread(recognizer) if spread else nullcontext(),
                encoder_sharded(recognizer, choose_device(device)) if shards else nullcontext(),
            ):
                weights = _fit_by_gradient(
                    recognizer, recipe, index, train, dev, metrics, loggers, folder, device
                )
    except (SystemExit, KeyboardInterrupt) as error:
        # Lightning converts Ctrl-C into its own exit.
        raise TrainingInterruptedError from error
    if is_first_rank():
        save_weights(StageFolder.of(folder, index, stage).final, weights)
    wait_for_all()


def _fit_by_em(
    recognizer: Recognizer,
    stage: Stage,
    train: Sequence[Example],
    dev: Sequence[Example],
    metrics: MetricsFile,
    loggers: Sequence[Logger],
) -> dict[str, Tensor]:
    epochs: Iterable[dict[str, float]] = em_epochs(recognizer, stage, train, dev)
    if sys.stderr.isatty():
        console = PlainConsole(stderr=True)
        epochs = track(epochs, escape(stage.name), total=stage.epochs, console=console)
    lowest = math.inf
    weights: dict[str, Tensor] = {}
    for epoch, measured in enumerate(epochs):
        metrics.add({"epoch": epoch, **measured})
        for logger in loggers:
            logger.log_metrics(measured, epoch)
        if stage.keep == "last" or measured["dev_error"] < lowest:
            lowest = measured["dev_error"]
            weights = {name: w.detach().clone() for name, w in recognizer.state_dict().items()}
    for logger in loggers:
        logger.finalize("success")
    return weights


def _fit_by_gradient(
    recognizer: Recognizer,
    recipe: Recipe,
    index: int,
    train: Sequence[Example] | SpeechStream,
    dev: Sequence[Example],
    metrics: MetricsFile,
    loggers: Sequence[Logger],
    folder: Path,
    device: str,
) -> dict[str, Tensor]:
    stage = recipe.training.stages[index]
    stage_folder = StageFolder.of(folder, index, stage)
    if (
        not isinstance(train, SpeechStream)
        and expert_posteriors_are_constant(stage, recipe)
        and posteriors_fit_in_memory((*train, *dev), recognizer)
    ):
        train = with_expert_posteriors(train, recognizer)
        dev = with_expert_posteriors(dev, recognizer)
    ngram = None
    if stage.objective == "crf":
        sequences = phoneme_sequences(train)
        ngram = PhonemeNgram.estimate(sequences, recognizer.phonemes.symbols, ORDER)
    module = StageModule(recognizer, recipe, index, ngram, _teacher(recipe, index, train))
    check = ResumeCheck(stage_folder.last)
    callbacks: list[Callback] = [
        metrics,
        StageCheckpoint(stage_folder.best, monitor=module.monitored),
        StageCheckpoint(stage_folder.last, monitor=None),
        check,
    ]
    if stage.average:
        callbacks.append(weight_averaging(stage.average))
    if recognizer.encoder is not None and recipe.model.encoder is not None:
        sparse = recipe.model.encoder.sparse
        if sparse is not None:
            callbacks.append(RouterWarning(sparse))
    shows_bars = sys.stderr.isatty()
    if is_first_rank():
        callbacks.append(StageProgressBar(stage.name) if shows_bars else StageLog(stage.name))
    trainer = pl.Trainer(
        accelerator=choose_device(device).replace("cuda", "gpu"),
        **_processes(),
        max_epochs=stage.epochs,
        precision=recipe.training.precision,
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1 << 30,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = training_loader(train, recipe, index, recognizer, lambda: trainer.global_step)
    module.steps_per_epoch = len(loader)
    with check.errors_named():
        trainer.fit(
            module,
            loader,
            dev_loader(dev, recognizer),
            ckpt_path=check.file if check.exists else None,
            weights_only=True,
        )
        if not check.passed:  # all epochs were done
            check.on_train_start(trainer, module)
    if stage.keep == "best":
        with repeatable(stage_folder.path):
            return read_checkpoint_weights(stage_folder.best, recognizer.state_dict())
    return {name: w.detach().cpu() for name, w in recognizer.state_dict().items()}


def _processes() -> dict[str, Any]:
    """Lightning's settings for the processes that train together, of which this is one."""
    if num_ranks() == 1:
        return {"devices": 1}
    here = ranks_of_this_machine()
    return {
        "devices": here,
        "num_nodes": num_ranks() // here,
        # Buffers (selection biases) are equal on all ranks, since they follow the global counts.
        "strategy": AveragingStrategy(
            broadcast_buffers=False,
            # Gradients are averaged where they are, without copies.
            gradient_as_bucket_view=True,
            cluster_environment=TorchElasticEnvironment(),
        ),
        "use_distributed_sampler": False,
    }


def _teacher(
    recipe: Recipe, index: int, train: Sequence[Example] | SpeechStream
) -> HiddenStateTeacher | PosteriorTeacher | None:
    section = recipe.training.teacher
    if section is None:
        return None
    if section.run is not None:
        return PosteriorTeacher()
    assert recipe.model.encoder is not None
    assert not isinstance(train, SpeechStream)
    torch.manual_seed(recipe.seed * 1000 + index)
    return HiddenStateTeacher(recipe.model.encoder.width, train)
