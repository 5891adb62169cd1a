"""A run in the form in which it is handed on: small, and without what only training needs.

This is how the models of the package are made (``phoneme_moe/models``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phoneme_moe.corpora import load_corpus
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.evaluation.model_card import SPEED, model_card
from phoneme_moe.evaluation.quality import QUALITY
from phoneme_moe.evaluation.stored_card import CARD, EVALUATION, stored_card
from phoneme_moe.features.encoder_folder import ENCODER, open_encoder_folder
from phoneme_moe.features.encoder_weights import save_encoder
from phoneme_moe.files.atomic import atomic_folder, is_empty
from phoneme_moe.files.compact_weights import WeightBits
from phoneme_moe.files.writing import write_bytes, write_json, write_text
from phoneme_moe.model.adaptation import ADAPTATION
from phoneme_moe.model.growth import GROWTH
from phoneme_moe.recipe import PretrainedFeatures, Recipe, validate_recipe
from phoneme_moe.run_folder import (
    LoadedRun,
    load_run,
    read_recipe,
    save_decoding,
    save_model,
    save_recipe,
)

MODEL_CARD = "MODEL_CARD.md"

KEPT = (
    ADAPTATION,
    GROWTH,
    EVALUATION,
    QUALITY,
    SPEED,
    "report/routing.json",
    "report/routing.csv",
    "report/routing.svg",
)
"""Files that are copied if they exist. The report's page has recordings of the corpus, and is
large; it stays behind, as do checkpoints, logs and metrics."""


def export_run(
    run: LoadedRun, folder: Path, bits: WeightBits = 16, notes: Sequence[str] = ()
) -> LoadedRun:
    """Writes a run folder for use alone, atomically: with ``speech.json`` and ``MODEL_CARD.md``.

    A pretrained encoder comes with it, in as many bits.

    Args:
        run: The run.
        folder: The new folder, which must be missing or empty.
        bits: Bits of a weight: 8, 16 or 32.
        notes: Sentences on what the model is bad at, for its card.

    Returns:
        The new run.

    Raises:
        InputError: The folder is not empty, the run's corpus is not prepared, its encoder is gone,
            or a weight is too large for 16 bits.
    """
    _check_empty(folder)
    card = stored_card(run, load_corpus(run.recipe.corpus.name), notes)
    recipe = _without_folders(read_recipe(run.folder))
    with atomic_folder(folder, _check_empty) as new:
        try:
            recipe = _with_encoder(run, recipe, new, bits)
            save_recipe(new, recipe)
            save_model(new, recipe, run.recognizer, bits)
        except InputError as error:
            raise InputError(f"{run.name}: {error}") from error
        for name in KEPT:
            if (run.folder / name).is_file():
                (new / name).parent.mkdir(exist_ok=True)
                write_bytes(new / name, (run.folder / name).read_bytes())
        write_json(new / CARD, card.model_dump())
        save_decoding(new, run.decoding)
        text = model_card(load_run(new)).markdown(folder.resolve().name)
        write_text(new / MODEL_CARD, text)
    return load_run(folder)


def _with_encoder(run: LoadedRun, recipe: Recipe, folder: Path, bits: WeightBits) -> Recipe:
    """Writes the pretrained encoder of a run, if it has one, into the new folder."""
    features, named = run.recipe.features, recipe.features
    if not isinstance(features, PretrainedFeatures):
        return recipe
    assert isinstance(named, PretrainedFeatures)
    encoder = open_encoder_folder(features.model, features.sha256)
    sha256 = save_encoder(encoder, folder / ENCODER, bits)
    return recipe.model_copy(update={"features": named.model_copy(update={"sha256": sha256})})


def _check_empty(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise ArgumentError("run", f"{folder}: not empty; expected an empty or new folder")


def _without_folders(recipe: Recipe) -> Recipe:
    """The recipe with the names alone of files of this machine that were used in training."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items()}
        if isinstance(value, list):
            return [strip(item) for item in value]
        return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

    data = recipe.model_dump(mode="json")
    used = {name: strip(data[name]) for name in ("features", "training")}
    return validate_recipe({**data, **used}, "recipe")
