"""The front end of a model, from section ``features`` of its recipe."""

from __future__ import annotations

from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.features.encoder_folder import EncoderFolder, encoder_of, open_encoder_folder
from phoneme_moe.features.log_mel import LogMel
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.model.adapted_encoder import AdaptedEncoder
from phoneme_moe.recipe import Adapters, AnyFeatures, PretrainedFeatures, Recipe, Teacher

SAMPLES_OF_A_FRAME = 320


def build_front_end(
    features: AnyFeatures, adapters: Adapters | None = None
) -> LogMel | PretrainedFrontEnd:
    """Creates the front end; a pretrained encoder is loaded when it is first needed.

    Args:
        features: Section ``features`` of the recipe.
        adapters: Section ``model.adapters``; with adapters the encoder is a part of the model, and
            the front end computes its input.
    """
    if isinstance(features, PretrainedFeatures) and adapters is not None:
        return PretrainedFrontEnd(
            features.model, features.sha256, "inputs", features.num_inputs or 1
        )
    if isinstance(features, PretrainedFeatures):
        return PretrainedFrontEnd(
            features.model,
            features.sha256,
            features.layers,
            features.num_features,
            features.num_layers,
        )
    return LogMel(**features.front_end)


def build_adapted_encoder(
    features: PretrainedFeatures, adapters: Adapters, num_experts: int
) -> AdaptedEncoder:
    """Creates the encoder with adapters.

    Args:
        features: Section ``features`` with the sizes that training found.
        adapters: Section ``model.adapters``.
        num_experts: Number of experts.
    """
    assert features.family is not None
    return AdaptedEncoder(
        features.model,
        features.sha256,
        features.family,
        features.layers,
        features.num_layers or 1,
        features.hidden or 1,
        features.feed_forward or 1,
        num_experts,
        adapters.rank,
        adapters.layers,
    )


def build_teacher(teacher: Teacher) -> PretrainedFrontEnd:
    """Creates the front end that computes the hidden states of a teacher.

    Args:
        teacher: Section ``training.teacher`` with the sizes that training found.
    """
    assert teacher.model is not None
    assert teacher.hidden is not None
    return PretrainedFrontEnd(
        teacher.model, teacher.sha256, teacher.layer, teacher.hidden, teacher.num_layers
    )


def pin_encoders(recipe: Recipe, run: Path | None = None) -> Recipe:
    """Stores hash, sizes and full paths of the pretrained encoders in a recipe that uses some.

    Args:
        recipe: The recipe.
        run: Its run folder, if it exists. The encoder inside it comes first, and keeps its name.

    Raises:
        InputError: An encoder cannot be used, or is not the one whose hash the recipe has.
    """
    features, teacher = recipe.features, recipe.training.teacher
    if isinstance(features, PretrainedFeatures):
        model = features.model if run is None else encoder_of(run, features.model)
        folder = _open(model, features.sha256, features.layers, "features.layers")
        is_inside = model != features.model
        found = {
            "model": features.model if is_inside else _from_anywhere(model),
            "sha256": folder.sha256,
            "hidden": folder.hidden,
            "num_layers": folder.num_layers,
            "feed_forward": folder.feed_forward,
            "num_inputs": folder.num_inputs,
            "family": folder.config["model_type"],
        }
        adapters = recipe.model.adapters
        if adapters is not None and (adapters.layers or 0) > folder.num_layers:
            raise InputError(
                f"model.adapters.layers: found {adapters.layers}, but {features.model} has "
                f"{folder.num_layers} layers"
            )
        recipe = recipe.model_copy(update={"features": features.model_copy(update=found)})
    if teacher is not None and teacher.model is not None:
        folder = _open(teacher.model, teacher.sha256, teacher.layer, "training.teacher.layer")
        found = {
            "model": _from_anywhere(teacher.model),
            "sha256": folder.sha256,
            "hidden": folder.hidden,
            "num_layers": folder.num_layers,
        }
        training = recipe.training.model_copy(update={"teacher": teacher.model_copy(update=found)})
        recipe = recipe.model_copy(update={"training": training})
    return recipe


def _from_anywhere(model: str) -> str:
    """The encoder by a name that does not depend on the current folder, as a run is used in any."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model


def _open(model: str, sha256: str | None, layer: str | int, key: str) -> EncoderFolder:
    folder = open_encoder_folder(model, sha256)
    if isinstance(layer, int) and layer > folder.num_layers:
        raise InputError(f"{key}: found {layer}, but {model} has {folder.num_layers} layers")
    return folder
