"""Weights of another run to begin with."""

from __future__ import annotations

from pathlib import Path

import torch

from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import load_run

KEY = "training.initial_weights"


@torch.no_grad()
def copy_initial_weights(folder: str | Path, recognizer: Recognizer) -> None:
    """Copies the weights of a run that a model has by the same name, in place; others stay.

    Args:
        folder: A run folder, or the name of a model of the package.
        recognizer: The model.

    Raises:
        InputError: The run cannot be used, has other phonemes, weights of another shape, or no
            weight of the model.
    """
    run = load_run(folder, calibrated=False).recognizer
    if run.phonemes.symbols != recognizer.phonemes.symbols:
        raise InputError(
            f"{KEY}: {folder} has {len(run.phonemes.symbols)} phonemes, expected the "
            f"{len(recognizer.phonemes.symbols)} of the corpus, in the same order"
        )
    weights, found = recognizer.state_dict(), run.state_dict()
    shared = weights.keys() & found.keys()
    if not shared:
        raise InputError(f"{KEY}: {folder} has no weight of the model: expected a similar model")
    for name in sorted(shared):
        if weights[name].shape != found[name].shape:
            raise InputError(
                f"{KEY}: {folder}: {name}: found shape {list(found[name].shape)}, expected "
                f"{list(weights[name].shape)}"
            )
        weights[name].copy_(found[name])
