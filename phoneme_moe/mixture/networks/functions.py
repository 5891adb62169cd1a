"""Functions as experts and gates: anything that gives scores, without weights to train.

A recipe names a function by the name it was registered under; no recipe names code. Registered in
the program that trains or loads the run::

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
"""From features, shape (batch, frames, features), and the mask of real frames, shape (batch,
frames), to scores of any shape that broadcasts to (batch, decisions, outputs), the outputs of a
gate being the experts. There is one decision for a token, and one in every frame of an utterance;
scores of masked frames are not used. Scores are logarithms up to a constant: their softmax is an
expert's posteriors or a gate's weights. A gate may give ``-inf`` to leave an expert out; scores of
an expert must be finite."""

Role = Literal["expert", "gate"]

_REGISTERED: dict[Role, dict[str, ScoreFunction]] = {"expert": {}, "gate": {}}


def register_expert(name: str, function: ScoreFunction) -> None:
    """Registers a function as an expert for recipes; a later one of the same name replaces it.

    Args:
        name: What ``model.expert.function`` or ``model.functions`` calls it.
        function: From features and mask to the scores of the model's outputs (``ScoreFunction``).

    Raises:
        InputError: It cannot be called.
    """
    _register("expert", name, function)


def register_gate(name: str, function: ScoreFunction) -> None:
    """Registers a function as a gate for recipes; a later one of the same name replaces it.

    Args:
        name: What ``model.gate.function`` calls it.
        function: From features and mask to the scores of the experts, in the model's order
            (``ScoreFunction``).

    Raises:
        InputError: It cannot be called.
    """
    _register("gate", name, function)


def _register(role: Role, name: str, function: ScoreFunction) -> None:
    if not callable(function):
        raise InputError(f"register_{role} {name!r}: found {function!r}, expected a function")
    _REGISTERED[role][name] = function


def registered(role: Role, name: str, key: str) -> ScoreFunction:
    """The function of a name.

    Args:
        role: Expert or gate.
        name: As it was registered.
        key: Where a recipe names it, for the error message.

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
    """A function in a network's place: one copy, no weights."""

    num_experts = 1

    def __init__(
        self,
        function: ScoreFunction,
        num_outputs: int,
        *,
        name: str | None = None,
        token: bool = False,
    ) -> None:
        """Settings.

        Args:
            function: Called with features and mask.
            num_outputs: Outputs, or experts of a gate.
            name: For error messages; the function's when left out.
            token: One decision for the whole token; else one for each frame.
        """
        super().__init__()
        self.name = name or getattr(function, "__name__", "function")
        self.function = function
        self.num_outputs = num_outputs
        self.token = token

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the outputs.

        Args:
            frames: Shape (1, slots, frames, features).
            mask: Real frames, shape (1, slots, frames).

        Returns:
            Shape (1, slots, decisions, outputs).

        Raises:
            InputError: The scores of the function have another shape, or are not numbers.
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
    """A gate with fixed weights, whatever the features.

    Args:
        weights: One for each expert, 0 or more, not all 0; only their ratios matter.
    """

    def scores(features: Tensor, mask: Tensor) -> Tensor:
        return torch.tensor(weights, dtype=features.dtype, device=features.device).log()

    return scores


register_expert("uniform", uniform)
register_gate("uniform", uniform)
