"""The run folder: writing and loading a trained model, its recipe and its decoding settings.

``recipe.yaml`` is the resolved recipe and is written first; ``model.json`` and
``model.safetensors`` hold the model. ``decoding.json`` is written last: with it, the run is
finished. No file is unpickled.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.files.compact_weights import WeightBits, compact
from phoneme_moe.files.documents import require_regular, shorten
from phoneme_moe.files.weight_files import read_weights
from phoneme_moe.files.writing import write_bytes, write_json, write_json_sections, write_text
from phoneme_moe.files.yaml_files import read_yaml
from phoneme_moe.model.document import MODEL_FORMAT, ModelDocument
from phoneme_moe.models import locate_run, output_folder, shipped_name
from phoneme_moe.recipe import (
    AnyFeatures,
    PretrainedFeatures,
    Recipe,
    validate_recipe,
)
from phoneme_moe.system.cores import limit_torch_threads

if TYPE_CHECKING:
    from torch import Tensor

    from phoneme_moe.model.recognizer import Recognizer

MODEL, WEIGHTS, DECODING = "model.json", "model.safetensors", "decoding.json"


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """Writes ``recipe.yaml`` with every setting resolved."""
    data = recipe.model_dump(mode="json")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_text(folder / "recipe.yaml", text, durable=True)


def read_recipe(folder: Path) -> Recipe:
    """Reads the recipe of a run folder.

    Raises:
        InputError: The folder has no recipe, or a key is wrong.
    """
    path = folder / "recipe.yaml"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not os.path.lexists(path):
        raise InputError(f"{folder}: not a run folder: it has no recipe.yaml")
    require_regular(path, "YAML")
    return validate_recipe(read_yaml(path), str(path))


def save_model(folder: Path, recipe: Recipe, recognizer: Recognizer, bits: WeightBits = 32) -> None:
    """Writes ``model.safetensors`` and ``model.json``.

    Args:
        folder: The run folder.
        recipe: Its recipe.
        recognizer: The model.
        bits: Bits in which weights are stored (``files.compact_weights``).

    Raises:
        InputError: A weight is too large for 16 bits.
    """
    from phoneme_moe.model.stored_model import model_document, stored_weights

    weights = {name: w.detach().cpu() for name, w in stored_weights(recognizer).items()}
    save_weights(folder / WEIGHTS, compact(weights, bits), {"format": MODEL_FORMAT})
    document = model_document(recipe, recognizer, bits)
    unset = {"weight_bits"} if bits == 32 else None
    write_json(folder / MODEL, document.model_dump(mode="json", exclude=unset), durable=True)


def save_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes weights as safetensors.

    Args:
        path: The file.
        weights: Tensors of any layout by name.
        metadata: Texts to store in the header.
    """
    from safetensors.torch import save

    contiguous = {name: weight.contiguous() for name, weight in weights.items()}
    # Not written by safetensors, whose error of a full disk is not an OSError.
    write_bytes(path, save(contiguous, metadata=dict(metadata) if metadata else None), durable=True)


@dataclass(frozen=True)
class LoadedRun:
    """A trained run, ready for use; ``phoneme_moe.run.Run`` adds the methods of the Python API.

    Attributes:
        folder: The run folder.
        recipe: The recipe of the run.
        recognizer: The model with its weights, in evaluation mode.
        decoding: Decoding settings.
    """

    folder: Path
    recipe: Recipe
    recognizer: Recognizer
    decoding: Decoding = field(default_factory=Decoding)

    @property
    def name(self) -> Path:
        """What users call it: the folder, or the name of a model of the package."""
        name = shipped_name(self.folder)
        return self.folder if name is None else Path(name)

    @property
    def output_folder(self) -> Path:
        """Where commands write by default: the folder; for a model of the package, outside."""
        return output_folder(self.folder)


def is_finished(folder: Path) -> bool:
    """Whether the training and the calibration of a run have ended."""
    return _missing_file(folder) is None


def _missing_file(folder: Path) -> str | None:
    """The first file that a run lacks to be finished."""
    names = [MODEL, WEIGHTS]
    # Runs from before decoding.json and quality.json end with their evaluation.
    is_old = (folder / "evaluation.json").is_file() and not (folder / "quality.json").is_file()
    if not is_old:
        names.append(DECODING)
    return next((name for name in names if not os.path.lexists(folder / name)), None)


def resume_command(folder: Path) -> str:
    """The command that finishes the training of a run folder."""
    command = ["phoneme-moe", "train", folder / "recipe.yaml", "--out", folder, "--resume"]
    return shlex.join(map(str, command))


def load_run(folder: str | Path, device: str = "cpu", calibrated: bool = True) -> LoadedRun:
    """Loads a run folder.

    Args:
        folder: A run folder written by ``phoneme-moe train``, or name of a model of the package.
        device: Device of the model: ``cpu``, ``cuda`` or ``auto``.
        calibrated: Whether the run must be finished; otherwise the model suffices.

    Raises:
        InputError: The folder is not a run folder, is not finished, was written by a newer version,
            or needs a function that is not registered.
    """
    from phoneme_moe.model.shapes import shapes_only
    from phoneme_moe.model.stored_model import (
        build_stored,
        require_same_sections,
        stored_weights,
    )

    folder = locate_run(folder)
    recipe = read_recipe(folder)
    path, weights_path = folder / MODEL, folder / WEIGHTS
    missing = _missing_file(folder)
    if missing is not None and (calibrated or missing != DECODING):
        raise InputError(
            f"{folder}: its training is not finished (there is no {missing}); finish it with: "
            f"{resume_command(folder)}"
        )
    document = ModelDocument.read(path)
    # A model of shapes only: weights of another size are refused before memory is allocated.
    with shapes_only():
        expected = stored_weights(build_stored(document, path))
    weights = read_weights(weights_path, expected, document.weight_bits or 32)
    require_same_sections(document, recipe, path)
    features = with_encoder_of(folder, recipe.features)
    recipe = recipe.model_copy(update={"features": features})
    recognizer = build_stored(document.model_copy(update={"features": features}), path)
    recognizer.load_state_dict(weights, strict=False)
    recognizer.decoding = decoding = read_decoding(folder)
    ngram = decoding.language_model
    if ngram is not None and ngram.symbols != recognizer.phonemes.symbols:
        raise InputError(
            f"{folder / DECODING}: language_model.symbols: found {shorten(list(ngram.symbols))}, "
            f"expected the phonemes of {path}"
        )
    return LoadedRun(folder, recipe, recognizer.to(choose_device(device)).eval(), decoding)


def with_encoder_of(folder: Path, features: AnyFeatures) -> AnyFeatures:
    """The features, with the encoder inside the run folder if there is one."""
    from phoneme_moe.features.encoder_folder import encoder_of

    if not isinstance(features, PretrainedFeatures):
        return features
    return features.model_copy(update={"model": encoder_of(folder, features.model)})


def save_decoding(folder: Path, decoding: Decoding) -> None:
    """Writes ``decoding.json``, with which the run is finished; the n-gram is one long line."""
    sections = decoding.to_document().model_dump(mode="json")
    write_json_sections(folder / DECODING, sections, durable=True)


def read_decoding(folder: Path) -> Decoding:
    """Reads ``decoding.json``; returns the defaults if it does not exist.

    Raises:
        InputError: A key is wrong.
    """
    path = folder / DECODING
    document = DecodingDocument.read_if_present(path)
    return Decoding() if document is None else Decoding.from_document(document, str(path))


def choose_device(device: str) -> str:
    """The device to use: for ``auto``, ``cuda`` if there is a CUDA device, else ``cpu``.

    Torch gets no more threads than there are usable cores.

    Raises:
        ArgumentError: The device is unknown or not available.
    """
    import torch

    if device not in {"auto", "cpu", "cuda"}:
        raise ArgumentError("device", f"found {device!r}, expected cpu, cuda or auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("device", "found cuda, but there is no CUDA device here; expected cpu")
    limit_torch_threads()
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
