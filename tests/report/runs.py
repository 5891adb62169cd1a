"""Runs for comparison, made without training: copies, permuted copies, fresh weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import LoadedRun, load_run, save_decoding, save_model, save_recipe


def fresh_run(
    folder: Path,
    recipe: Recipe,
    phonemes: Sequence[str] = ("a", "i", "m", "s"),
    experts: Sequence[str] = ("ann", "bob", "carol"),
    seed: int = 0,
) -> LoadedRun:
    """A run whose weights were drawn at random."""
    torch.manual_seed(seed)
    recognizer = Recognizer(
        recipe.features, recipe.task, recipe.model, tuple(phonemes), tuple(experts)
    )
    save_recipe(folder, recipe)
    save_model(folder, recipe, recognizer)
    save_decoding(folder, Decoding())
    return load_run(folder)


def permuted_copy(run: LoadedRun, folder: Path, order: Sequence[int]) -> LoadedRun:
    """The same run with its experts in another order, names and all."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("report", "compare"))
    weights = load_file(folder / "model.safetensors")
    order = list(order)
    for name, weight in weights.items():
        if name.startswith("experts."):
            weights[name] = weight[order].contiguous()
        elif name.startswith("gate.network.output."):
            weights[name] = weight[..., order].contiguous()
    save_file(weights, folder / "model.safetensors")
    return load_run(folder)


def permuted_layers(run: LoadedRun, folder: Path, order: Sequence[int]) -> LoadedRun:
    """The same sparse run with the experts of every layer in another order."""
    shutil.copytree(run.folder, folder)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if ".experts." in name or ".router." in name:
            weights[name] = weight[list(order)].contiguous()
    save_file(weights, folder / "model.safetensors")
    return load_run(folder)
