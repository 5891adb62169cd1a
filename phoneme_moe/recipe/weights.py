"""Number of weights of a model, estimated from its section before anything is allocated."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from phoneme_moe.errors import InputError
from phoneme_moe.recipe.encoder import EncoderSection, Sparse
from phoneme_moe.recipe.model import Layers, Model

if TYPE_CHECKING:
    from phoneme_moe.recipe.data import Recipe, Task
    from phoneme_moe.recipe.features import AnyFeatures

MAX_WEIGHTS = 1_000_000_000
"""Most weights of a model: 4 GB in float32."""


def require_weights(
    features: AnyFeatures, task: Task, model: Model, num_outputs: int, num_experts: int
) -> None:
    """Checks that a model is not absurdly large.

    Args:
        features: Section ``features`` of the recipe.
        task: Section ``task``.
        model: Section ``model``.
        num_outputs: Outputs of the model; as few as are known.
        num_experts: Experts behind the gate; as few as are known.

    Raises:
        InputError: The model has more than ``MAX_WEIGHTS``; the message names the section.
    """
    numbers = estimate_weights(features, task, model, num_outputs, num_experts)
    for key, number in numbers.items():
        if number > MAX_WEIGHTS:
            raise InputError(
                f"{key}: found sizes of about {number:,} weights, expected at most {MAX_WEIGHTS:,}"
            )


def check_weights(recipe: Recipe) -> None:
    """``require_weights`` for a recipe, as far as its corpus is not needed.

    Raises:
        InputError: As for ``require_weights``.
    """
    model = recipe.model
    num_experts = 1 if model.num_experts == "speakers" else model.num_experts
    num_outputs = len(recipe.task.phonemes or ()) or 1
    require_weights(recipe.features, recipe.task, model, num_outputs, num_experts)


def estimate_weights(
    features: AnyFeatures, task: Task, model: Model, num_outputs: int, num_experts: int
) -> dict[str, int]:
    """Weights of the linear maps by section, without biases and normalisation.

    Arguments as in ``require_weights``.
    """
    num_inputs = features.num_features * features.stack
    if model.encoder is not None:
        return {"model.encoder": _encoder(model.encoder, num_inputs, num_outputs)}
    frames = int(task.token_ms / features.hop_ms + 1e-6) if task.kind == "classify" else None
    num_networks = num_experts - len(model.functions)
    numbers = {
        "model.expert": num_networks * _network(model.expert, num_inputs, frames, num_outputs)
    }
    if model.gate is not None:
        numbers["model.gate"] = _network(model.gate, num_inputs, frames, num_experts)
    return numbers


def _network(layers: Layers, num_inputs: int, frames: int | None, num_outputs: int) -> int:
    if layers.kind in {"linear", "feed_forward"}:
        hidden = layers.hidden if layers.kind == "feed_forward" else ()
        sizes = [num_inputs * (frames or layers.kernel), *hidden, num_outputs]
        return sum(a * b for a, b in pairwise(sizes))
    if layers.kind == "tdnn_1989":
        first, second = layers.hidden
        windows = layers.windows
        return num_inputs * windows[0] * first + first * windows[1] * second + second * num_outputs
    if layers.kind == "tdnn":
        narrow = layers.bottleneck or layers.width
        layer = narrow * layers.kernel * layers.width
        if layers.bottleneck:
            layer += layers.width * narrow
        ends = num_inputs * layers.kernel + num_outputs
        return ends * layers.width + len(layers.dilations) * layer
    return 0


def _encoder(section: EncoderSection, num_inputs: int, num_outputs: int) -> int:
    width = section.width
    number = (num_inputs * section.kernel + num_outputs) * width
    for block in range(len(section.dilations)):
        number += width * section.bottleneck * (1 + section.kernel)
        if section.sparse is not None and section.is_sparse(block):
            number += _sparse(section.sparse, width)
        else:
            number += 2 * width * section.hidden
    return number


def _sparse(sparse: Sparse, width: int) -> int:
    router = sparse.router
    number = 2 * width * sparse.expert_hidden * (sparse.num_routed + sparse.shared)
    if router.kind == "soft":
        return number + width * sparse.num_experts * router.slots
    scored = width
    if router.sees == "context":
        scored = router.context_width
        number += width * scored + (router.context_frames + 1) * scored * scored
    elif router.sees == "embedding":
        scored = router.embedding_size or 0
    return number if router.function is not None else number + scored * sparse.num_routed
