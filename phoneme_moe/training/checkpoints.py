"""Reading the checkpoints of a stage, which may be damaged or come from a stranger.

A checkpoint is an archive of tensors and a restricted pickle (``weights_only``). Neither torch nor
Lightning checks much of it: here the checksums of the archive are compared, the state of the
training is compared with that of a new one, and any other failure until the first step is reported
as an error of the file.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import require_regular, shorten, shorten_name

_PARTS = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
"""Parts of a checkpoint without which Lightning would start anew, in part."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing in it is run.

    Raises:
        InputError: The file is not a checkpoint, or is damaged.
    """
    require_regular(file, "a checkpoint")
    try:
        _check_archive(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of zipfile and torch, which raise many kinds
        raise InputError(f"{file}: not readable as a checkpoint: {_cause(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: found {shorten(content)}, expected a checkpoint")
    for name in _PARTS:
        if name not in content:
            raise InputError(f"{file}: not readable as a checkpoint: {name} is missing")
    return content


def _check_archive(file: Path) -> None:
    """Compares the checksums, which torch does not, and refuses compressed (huge) content."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(entry.file_size for entry in entries) > file.stat().st_size:
            raise ValueError("its content is compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")


def read_checkpoint_weights(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads the weights of a recognizer from a checkpoint.

    Args:
        file: The checkpoint.
        expected: Tensors with the expected shapes, by name.

    Raises:
        InputError: As for ``read_checkpoint``, or the weights are not those of this model.
    """
    state = read_checkpoint(file).get("state_dict")
    if not isinstance(state, dict):
        raise InputError(f"{file}: state_dict: found {shorten(state)}, expected weights")
    weights = {
        str(name).removeprefix("recognizer."): w
        for name, w in state.items()
        if not str(name).startswith("teacher.")  # only needed to go on
    }
    for name in sorted({*expected, *weights}):
        found = weights.get(name)
        shape = tuple(found.shape) if isinstance(found, Tensor) else None
        wanted = tuple(expected[name].shape) if name in expected else None
        if shape != wanted:
            where = f"{file}: state_dict: {shorten_name(name)}"
            raise InputError(f"{where}: found shape {shape}, expected {wanted}")
    return weights


class StageCheckpoint(ModelCheckpoint):
    """Saves the best epoch by the monitored metric, or without one the latest."""

    def __init__(self, path: Path, monitor: str | None) -> None:
        """Chooses the file.

        Args:
            path: The checkpoint.
            monitor: The metric of the best epoch, lowest; None for the latest epoch.
        """
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """The key of Lightning's class, as in checkpoints of version 0.1."""
        return super().state_key.replace(type(self).__name__, ModelCheckpoint.__name__)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best score.

        Paths are not restored: the folder may have been moved, and Lightning deletes the former
        best checkpoint wherever the state says that it is.
        """
        scores = list(state_dict["best_k_models"].values())
        if self.monitor is None or not scores:
            return
        (score,) = scores
        if not isinstance(score, Tensor) or score.ndim:
            raise TypeError(f"best_k_models: found {shorten(score)}, expected a number")
        path = self.format_checkpoint_name({})
        self.best_k_models = {path: score}
        self.best_model_path = self.kth_best_model_path = path
        self.best_model_score = self.kth_value = score


class ResumeCheck(Callback):
    """Compares the restored state of the training with that of a new one, before the next step.

    Attributes:
        file: The checkpoint.
        exists: Whether there is one, from which the training goes on.
        passed: Whether the state was checked.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.exists = os.path.lexists(file)
        self.passed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks the state.

        Raises:
            TypeError: The state is not one of this training.
        """
        if self.exists:
            _check_counts(trainer.fit_loop.state_dict())
            steps = trainer.current_epoch * int(trainer.num_training_batches)
            if trainer.global_step != steps:
                raise TypeError(f"global_step: found {trainer.global_step}, expected {steps}")
            _check_optimizer(trainer, pl_module.configure_optimizers())
        self.passed = True

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Reports failures to restore the checkpoint as errors of its file.

        Raises:
            InputError: The checkpoint cannot be restored.
        """
        try:
            yield
        except Exception as error:  # Lightning restores without checks, which raises many kinds
            if self.passed or not self.exists:
                raise
            problem = f"{self.file}: not a checkpoint of this training: {_cause(error)}"
            with repeatable(self.file.parent):
                raise (error if isinstance(error, InputError) else InputError(problem)) from error


def _check_counts(progress: object) -> None:
    if isinstance(progress, dict):
        for value in progress.values():
            _check_counts(value)
    elif not isinstance(progress, int) or not 0 <= progress < 1 << 53:
        raise TypeError(f"loops: found {shorten(progress)}, expected a count")


def _check_optimizer(trainer: pl.Trainer, new: Any) -> None:
    """Compares optimizer and schedule with new ones."""
    optimizer, schedule = new, None
    if isinstance(new, dict):
        optimizer, schedule = new["optimizer"], new["lr_scheduler"]["scheduler"]
    (restored,) = trainer.optimizers
    for group, new_group in zip(restored.param_groups, optimizer.param_groups, strict=True):
        settings, new_settings = (
            {key: value for key, value in one.items() if key != "params"}
            for one in (group, new_group)
        )
        _check_kinds(settings, new_settings, "optimizer_states")
    for weight, values in restored.state.items():
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.shape not in {weight.shape, torch.Size()}:
                raise TypeError(f"optimizer_states: {shorten(name)}: found {shorten(value)}")
    if schedule is not None:
        (config,) = trainer.lr_scheduler_configs
        _check_kinds(config.scheduler.state_dict(), schedule.state_dict(), "lr_schedulers")
        if config.scheduler.last_epoch != trainer.global_step:  # it counts steps
            raise TypeError(f"lr_schedulers: found step {config.scheduler.last_epoch}")


def _check_kinds(found: object, expected: object, where: str) -> None:
    """Compares the types of values, recursively; a new state may have integers for floats."""
    numbers = (int, float)
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            raise TypeError(f"{where}: found {shorten(found)}")
        for key, value in expected.items():
            _check_kinds(found[key], value, f"{where}: {key}")
    elif isinstance(expected, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            raise TypeError(f"{where}: found {shorten(found)}")
        for one, other in zip(found, expected, strict=True):
            _check_kinds(one, other, where)
    elif type(found) is not type(expected) and not (
        type(found) in numbers and type(expected) in numbers
    ):
        raise TypeError(f"{where}: found {shorten(found)}, expected {shorten(expected)}")


@contextmanager
def repeatable(folder: Path) -> Iterator[None]:
    """Adds to an error about a file of a stage how to go on.

    Args:
        folder: The folder of the stage's checkpoints.
    """
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error}; remove {folder} to train this stage again, with the same result"
        ) from error


def _cause(error: Exception) -> str:
    """The kind and the first line of an error."""
    if isinstance(error, pickle.UnpicklingError):
        # torch advises to allow code.
        return "it holds something else than tensors and plain values"
    lines = str(error).strip().splitlines()
    text = "".join(c if c.isprintable() else " " for c in lines[0][:200]) if lines else ""
    return f"{type(error).__name__}: {text}".rstrip(": ")
