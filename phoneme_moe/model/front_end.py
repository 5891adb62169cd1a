"""The front end of a model, from section ``features`` of its recipe."""

from __future__ import annotations

from phoneme_moe.errors import InputError
from phoneme_moe.features.encoder_folder import open_encoder_folder
from phoneme_moe.features.log_mel import LogMel
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.recipe import AnyFeatures, PretrainedFeatures, Recipe, Teacher


def build_front_end(features: AnyFeatures) -> LogMel | PretrainedFrontEnd:
    """Creates the front end; a pretrained encoder is loaded when it is first needed."""
    if isinstance(features, PretrainedFeatures):
        return PretrainedFrontEnd(
            features.model,
            features.sha256,
            features.layers,
            features.num_features,
            features.num_layers,
        )
    return LogMel(**features.front_end)


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


def pin_encoders(recipe: Recipe) -> Recipe:
    """Stores hash and sizes of the pretrained encoders in a recipe that uses some.

    Raises:
        InputError: An encoder cannot be used, or is not the one whose hash the recipe has.
    """
    features, teacher = recipe.features, recipe.training.teacher
    if isinstance(features, PretrainedFeatures):
        found = _pin(features.model, features.sha256, features.layers, "features.layers")
        recipe = recipe.model_copy(update={"features": features.model_copy(update=found)})
    if teacher is not None and teacher.model is not None:
        found = _pin(teacher.model, teacher.sha256, teacher.layer, "training.teacher.layer")
        training = recipe.training.model_copy(update={"teacher": teacher.model_copy(update=found)})
        recipe = recipe.model_copy(update={"training": training})
    return recipe


def _pin(model: str, sha256: str | None, layer: str | int, key: str) -> dict[str, str | int]:
    folder = open_encoder_folder(model, sha256)
    if isinstance(layer, int) and layer > folder.num_layers:
        raise InputError(f"{key}: found {layer}, but {model} has {folder.num_layers} layers")
    return {"hidden": folder.hidden, "num_layers": folder.num_layers, "sha256": folder.sha256}
