"""Runs the stages of a recipe into a run folder, and takes up where an earlier try stopped."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.recipe import Recipe, Stage
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.run import atomic_path, choose_device, save_model, save_recipe
from phoneme_moe.training.callbacks import (
    AtomicCheckpointIO,
    MetricsFile,
    StageProgressBar,
    read_rows,
)
from phoneme_moe.training.data import (
    BalancedBatches,
    Batch,
    Example,
    collate,
    corpus_phonemes,
    corpus_speakers,
    load_examples,
)
from phoneme_moe.training.frozen import (
    experts_repeat_themselves,
    posteriors_fit,
    with_expert_posteriors,
)
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.train import TrainingInterruptedError

PLAIN_BATCH = 128
"""Examples side by side where nothing is learned."""


class ExampleBatches(Dataset[Batch]):
    """Collated batches, by the list of indices of their examples."""

    def __init__(self, examples: Sequence[Example], recognizer: Recognizer) -> None:
        self.examples = examples
        self.recognizer = recognizer
        self.experts = {name: index for index, name in enumerate(recognizer.expert_names)}

    def __getitem__(self, indices: Any) -> Batch:
        return collate([self.examples[i] for i in indices], self.recognizer, self.experts)


@dataclass(frozen=True)
class StageFolder:
    """Where a stage keeps what resuming needs."""

    path: Path

    @classmethod
    def of(cls, run: Path, index: int, stage: Stage) -> StageFolder:
        """The folder of a stage, numbered in order."""
        return cls(run / "checkpoints" / f"{index + 1}_{stage.name}")

    @property
    def last(self) -> Path:
        """State after the last whole epoch."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """State after the epoch with the fewest errors on dev."""
        return self.path / "best.ckpt"

    @property
    def final(self) -> Path:
        """Weights that the stage ended with; it is there only when the stage has ended."""
        return self.path / "final.safetensors"


def build_recognizer(recipe: Recipe, corpus: PreparedCorpus) -> Recognizer:
    """The recipe's model with fresh weights that follow from its seed."""
    speakers = corpus_speakers(recipe, corpus)
    if recipe.model.num_experts == "speakers" or (
        recipe.model.num_experts == 1 and len(speakers) == 1
    ):
        experts = speakers
    else:
        experts = tuple(f"expert_{index}" for index in range(recipe.model.num_experts))
    torch.manual_seed(recipe.seed)
    return Recognizer(
        recipe.features, recipe.task, recipe.model, corpus_phonemes(recipe, corpus), experts
    )


def train_stages(
    recipe: Recipe, corpus: PreparedCorpus, folder: Path, device: str = "auto"
) -> Recognizer:
    """Trains every stage that has not ended yet and leaves a usable run folder.

    Args:
        recipe: What to train.
        corpus: The recipe's corpus, prepared.
        folder: The run folder; what an earlier try left in it is taken up.
        device: ``cpu``, ``cuda`` or ``auto``.

    Returns:
        The trained model in evaluation mode.

    Raises:
        InputError: The recipe does not fit the corpus.
        TrainingInterruptedError: Stopped from the keyboard.
    """
    _quieten_lightning()
    keep_freed_memory()
    recognizer = build_recognizer(recipe, corpus)
    save_recipe(folder, recipe)
    speakers = corpus_speakers(recipe, corpus)
    train = load_examples(recipe, corpus, "train", recognizer, speakers)
    dev = load_examples(recipe, corpus, "dev", recognizer, speakers)
    for example in (*train, *dev):
        recognizer.phonemes.encode(example.phonemes)
    for leftover in folder.rglob(".*"):
        # What a kill in the middle of writing left (run.atomic_path).
        leftover.unlink()
    for index, stage in enumerate(recipe.training.stages):
        stage_folder = StageFolder.of(folder, index, stage)
        learner = lone_expert(recognizer, recipe) if stage.route == "shared" else recognizer
        if not stage_folder.final.is_file():
            _fit_stage(learner, recipe, index, train, dev, folder, device)
        learner.load_state_dict(load_file(stage_folder.final))
        if stage.route == "shared":
            _copy_to_all(learner, recognizer)
    recognizer.to(choose_device(device)).eval()
    save_model(folder, recipe, recognizer)
    return recognizer


def lone_expert(recognizer: Recognizer, recipe: Recipe) -> Recognizer:
    """A model of one expert of the same shape and no gate; it starts as the first expert."""
    lone = Recognizer(
        recipe.features,
        recipe.task,
        recipe.model.model_copy(update={"num_experts": 1, "gate": None}),
        recognizer.phonemes.symbols,
        ("shared",),
    )
    with torch.no_grad():
        for own, of_all in zip(
            lone.experts.parameters(), recognizer.experts.parameters(), strict=True
        ):
            own.copy_(of_all[:1])
    return lone


@torch.no_grad()
def _copy_to_all(lone: Recognizer, recognizer: Recognizer) -> None:
    """Makes every expert a copy of the lone one."""
    for own, of_all in zip(lone.experts.parameters(), recognizer.experts.parameters(), strict=True):
        of_all.copy_(own.expand_as(of_all))


def _fit_stage(
    recognizer: Recognizer,
    recipe: Recipe,
    index: int,
    train: Sequence[Example],
    dev: Sequence[Example],
    folder: Path,
    device: str,
) -> None:
    stage = recipe.training.stages[index]
    stage_folder = StageFolder.of(folder, index, stage)
    if experts_repeat_themselves(stage, recipe) and posteriors_fit((*train, *dev), recognizer):
        train = with_expert_posteriors(train, recognizer)
        dev = with_expert_posteriors(dev, recognizer)
    batches = BalancedBatches(train, recipe.training.batch_size, recipe.seed * 1000 + index)
    dev_order = sorted(range(len(dev)), key=lambda i: len(dev[i].features))
    dev_batches = [dev_order[i : i + PLAIN_BATCH] for i in range(0, len(dev), PLAIN_BATCH)]
    metrics_path = folder / "metrics.csv"
    earlier = [s.name for s in recipe.training.stages[:index]]
    rows = [row for row in read_rows(metrics_path) if row["stage"] in earlier]
    callbacks: list[Callback] = [
        MetricsFile(metrics_path, stage.name, rows),
        _checkpoint(stage_folder.best, monitor="dev_error"),
        _checkpoint(stage_folder.last, monitor=None),
    ]
    if sys.stderr.isatty():
        callbacks.append(StageProgressBar(stage.name))
    trainer = pl.Trainer(
        accelerator=choose_device(device).replace("cuda", "gpu"),
        devices=1,
        max_epochs=stage.epochs,
        precision=recipe.training.precision,
        gradient_clip_val=recipe.training.gradient_clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="tensorboard", version=f"{index + 1}_{stage.name}"),
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1 << 30,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(
            StageModule(recognizer, recipe, index),
            DataLoader(
                ExampleBatches(train, recognizer),
                sampler=batches,
                batch_size=None,
                # Of its own: a loader draws a number whenever it starts, and in the first epoch
                # after a resume it starts before the epoch is seeded, not after.
                generator=torch.Generator(),
            ),
            DataLoader(ExampleBatches(dev, recognizer), sampler=dev_batches, batch_size=None),
            ckpt_path=stage_folder.last if stage_folder.last.is_file() else None,
            weights_only=True,
        )
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit of its own.
        raise TrainingInterruptedError from error
    if stage.keep == "best":
        state = torch.load(stage_folder.best, map_location="cpu", weights_only=True)["state_dict"]
        weights = {name.removeprefix("recognizer."): w for name, w in state.items()}
    else:
        weights = {name: w.detach().cpu() for name, w in recognizer.state_dict().items()}
    with atomic_path(stage_folder.final) as temporary:
        save_file({name: w.contiguous() for name, w in weights.items()}, temporary)


def _checkpoint(path: Path, monitor: str | None) -> ModelCheckpoint:
    """Saves at the end of an epoch: the best by what is monitored, or else the latest."""
    return ModelCheckpoint(
        dirpath=path.parent,
        filename=path.stem,
        monitor=monitor,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _quieten_lightning() -> None:
    """Leaves out what Lightning says about hardware and workers; a user can do nothing with it."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")


def keep_freed_memory() -> None:
    """Tells glibc to keep what tensors free instead of giving it back to the system.

    By default every tensor above 128 KiB is mapped anew and its pages are faulted in again: 15 % of
    a training step of the FSDD mixture. Elsewhere than on Linux with glibc nothing is done.
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
