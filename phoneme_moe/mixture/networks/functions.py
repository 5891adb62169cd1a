"""Functions as experts and gates: any function that computes scores, without trainable weights.

A recipe refers to a function by its registered name and never contains code. The program that
trains or loads the run registers it::

    register_gate("loud_to_first", lambda features, mask: ...)
    train("my_recipe.yaml")     # model.gate: {kind: function, function: loud_to_first}

Legend: B batch, T frames, F features, D decisions (1 for a token, T for an utterance), E experts,
P outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError, suggest

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
"""Maps features, shape (batch, frames, features), and the mask of real frames, shape (batch,
frames), to scores of any shape that broadcasts to (batch, decisions, outputs); the outputs of a
gate are the experts. There is one decision for a token, and one for each frame of an utterance;
scores of masked frames are ignored. Scores are logits: their softmax is an expert's posteriors or a
gate's weights. A gate may return ``-inf`` to exclude an expert; scores of an expert must be
finite."""

Role = Literal["expert", "gate"]

_REGISTERED: dict[Role, dict[str, ScoreFunction]] = {"expert": {}, "gate": {}}


def register_expert(name: str, function: ScoreFunction) -> None:
    """Registers a function as an expert for recipes; a later one of the same name replaces it.

    Args:
        name: Its name in ``model.expert.function`` or ``model.functions``.
        function: Maps features and mask to the scores of the model's outputs (``ScoreFunction``).

    Raises:
        InputError: It is not callable.
    """
    _register("expert", name, function)


def register_gate(name: str, function: ScoreFunction) -> None:
    """Registers a function as a gate for recipes; a later one of the same name replaces it.

    Args:
        name: Its name in ``model.gate.function``.
        function: Maps features and mask to the scores of the experts, in the model's order
            (``ScoreFunction``).

    Raises:
        InputError: It is not callable.
    """
    _register("gate", name, function)


def _register(role: Role, name: str, function: ScoreFunction) -> None:
    if not callable(function):
        raise InputError(f"register_{role} {name!r}: found {function!r}, expected a function")
    _REGISTERED[role][name] = function


def registered(role: Role, name: str, key: str) -> ScoreFunction:
    """Looks up a registered function.

    Args:
        role: Expert or gate.
        name: Its registered name.
        key: Key of the recipe that names it, for the error message.

    Raises:
        InputError: No such function is registered.
    """
    known = _REGISTERED[role]
    if name not in known:
        raise InputError(
            f"{key}: found {name!r}, which is not registered (phoneme_moe.register_{role})"
            f"{suggest(name, known)}"
        )
    return known[name]


class FunctionNetwork(nn.Module):
    """A function in place of a network: a single expert without weights."""

    num_experts = 1

    def __init__(
        self,
        function: ScoreFunction,
        num_outputs: int,
        *,
        name: str | None = None,
        token: bool = False,
    ) -> None:
        """Wraps a function.

        Args:
            function: Called with features and mask.
            num_outputs: Number of outputs, or of experts for a gate.
            name: Name in error messages; that of the function by default.
            token: Whether there is one decision for the whole token, or one for each frame.
        """
        super().__init__()
        self.name = name or getattr(function, "__name__", "function")
        self.function = function
        self.num_outputs = num_outputs
        self.token = token

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Computes the scores of the outputs.

        Args:
            frames: Shape (1, slots, frames, features).
            mask: Real frames, shape (1, slots, frames).

        Returns:
            Shape (1, slots, decisions, outputs).

        Raises:
            InputError: The function's scores have a wrong shape or contain NaN.
        """
        _, slots, num_frames, _ = frames.shape
        expected = (slots, 1 if self.token else num_frames, self.num_outputs)
        scores = self.function(frames[0], mask[0])
        try:
            scores = scores.expand(expected)
        except (RuntimeError, AttributeError) as error:
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(
                f"function {self.name!r}: found scores of shape {shape}, expected {expected}: "
                "batch, decisions and outputs"
            ) from error
        if scores.isnan().any():
            raise InputError(f"function {self.name!r}: found nan among its scores")
        return scores[None]


def uniform(features: Tensor, mask: Tensor) -> Tensor:
    """Equal scores: every expert has the same weight, or every output the same probability."""
    return features.new_zeros(1, 1, 1)


def fixed(weights: Sequence[float]) -> ScoreFunction:
    """A gate with constant weights, independent of the features.

    Args:
        weights: Weight of each expert, 0 or more, not all 0; only their ratios matter.
    """

    def scores(features: Tensor, mask: Tensor) -> Tensor:
        return torch.tensor(weights, dtype=features.dtype, device=features.device).log()

    return scores


register_expert("uniform", uniform)
register_gate("uniform", uniform)
