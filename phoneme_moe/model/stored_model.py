"""A model and the files in which it is stored: its document, its weights, and back.

The names and shapes of weights, and all settings of a model, are those of ``model.json``
(``model.document``).
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from phoneme_moe.errors import InputError
from phoneme_moe.files.compact_weights import WeightBits
from phoneme_moe.files.documents import shorten
from phoneme_moe.model.document import MODEL_FORMAT, ModelDocument, TimingDocument
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.model.timing_net import TimingNet
from phoneme_moe.recipe import Recipe


def stored_weights(recognizer: Recognizer) -> dict[str, Tensor]:
    """The weights that a run stores by name: all but those of the front end."""
    # The window and mel filters are constants that follow from the features section.
    return {
        name: weight
        for name, weight in recognizer.state_dict().items()
        if not name.startswith("front_end.")
    }


def model_document(recipe: Recipe, recognizer: Recognizer, bits: WeightBits) -> ModelDocument:
    """The content of ``model.json``.

    Args:
        recipe: The recipe of the model.
        recognizer: The model.
        bits: Bits in which its weights are stored (``files.compact_weights``).
    """
    timing = recognizer.timing
    return ModelDocument(
        format=MODEL_FORMAT,
        version=1 if bits == 32 else 2,  # earlier versions of this package read only 1
        package_version=version("phoneme-moe"),
        recipe=recipe.name,
        corpus=recipe.corpus.name,
        features=recipe.features,
        task=recipe.task,
        model=recipe.model,
        phonemes=list(recognizer.phonemes.symbols),
        experts=list(recognizer.expert_names),
        timing=(
            None
            if timing is None
            else TimingDocument(width=timing.width, prior_scale=timing.prior_scale)
        ),
        num_parameters=sum(
            weight.numel()
            for name, weight in stored_weights(recognizer).items()
            if not name.startswith("timing.")
        ),
        weight_bits=None if bits == 32 else bits,
    )


def build_stored(document: ModelDocument, path: Path) -> Recognizer:
    """Builds the model of a document, with initial weights.

    Args:
        document: The content of ``model.json``.
        path: The file, for error messages.

    Raises:
        InputError: The sections do not fit each other, or a function is not registered.
    """
    sections = document.features, document.task, document.model
    try:
        recognizer = Recognizer(*sections, tuple(document.phonemes), tuple(document.experts))
        if document.timing is not None:
            recognizer.timing = TimingNet(
                recognizer.front_end.num_features,
                recognizer.phonemes.num_outputs,
                document.timing.width,
                document.timing.prior_scale,
            )
    except InputError as error:
        # A function that is not registered, or a wrong number of gate weights.
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RuntimeError) as error:
        # Sections that are valid separately, but not together.
        problem = str(error).splitlines()[0]
        raise InputError(f"{path}: no model can be built from it: {problem}") from error
    return recognizer


def require_same_sections(document: ModelDocument, recipe: Recipe, path: Path) -> None:
    """Checks that recipe and model are of the same run.

    Args:
        document: The content of ``model.json``.
        recipe: The recipe.
        path: The file, for error messages.

    Raises:
        InputError: A section differs.
    """
    for name in ("features", "task", "model"):
        found, expected = getattr(document, name), getattr(recipe, name)
        for key in type(expected).model_fields:
            one, other = getattr(found, key), getattr(expected, key)
            if one != other:
                raise InputError(
                    f"{path}: {name}.{key}: found {shorten(one)}, expected {shorten(other)} as in "
                    f"{path.with_name('recipe.yaml')}"
                )
