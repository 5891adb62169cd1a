"""Experts and the gate before them, from a recipe's sections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork, fixed, registered
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.recipe import Gating, Model, Network


@dataclass(frozen=True)
class Given:
    """The inputs of the networks.

    Attributes:
        num_features: Features of a frame.
        token_frames: Frames of an excised token.
        of_token: Whether they are given tokens; else utterances.
    """

    num_features: int
    token_frames: int
    of_token: bool


def build_experts(model: Model, names: tuple[str, ...], given: Given, outputs: int) -> Experts:
    """The experts with initial weights: networks, then functions.

    Args:
        model: Section of the recipe.
        names: Of the experts, functions last.
        given: Their inputs.
        outputs: Of each expert.

    Raises:
        InputError: A function is not registered.
    """

    def function_of(name: str | None, key: str) -> FunctionNetwork:
        assert name is not None
        function = registered("expert", name, f"model.{key}")
        return FunctionNetwork(function, outputs, name=name, token=given.of_token)

    num_networks = len(names) - len(model.functions)
    network: nn.Module
    if model.expert.kind == "function":
        network = function_of(model.expert.function, "expert.function")
    else:
        network = _build_network(model.expert, num_networks, given, outputs)
    functions = [function_of(name, "functions") for name in model.functions]
    return Experts(network, functions=functions)


def build_gate(gating: Gating, experts: tuple[str, ...], given: Given) -> Gate:
    """The gate with initial weights.

    Args:
        gating: Section of the recipe.
        experts: Names of the experts that it weighs.
        given: Its inputs.

    Raises:
        InputError: A function is not registered, or a fixed gate has not one weight for each
            expert.
    """
    if gating.kind == "fixed":
        assert gating.weights is not None
        if len(gating.weights) != len(experts):
            raise InputError(
                f"model.gate.weights: found {len(gating.weights)}, expected {len(experts)}, one "
                f"for each of {', '.join(experts)}"
            )
        function = fixed(gating.weights)
    elif gating.kind == "function":
        assert gating.function is not None
        function = registered("gate", gating.function, "model.gate.function")
    else:
        return Gate(_build_network(gating, 1, given, len(experts)), gating.activation)
    name = gating.function or gating.kind
    network = FunctionNetwork(function, len(experts), name=name, token=given.of_token)
    return Gate(network, gating.activation)


def _build_network(
    layers: Network | Gating, num_copies: int, given: Given, outputs: int
) -> nn.Module:
    if layers.kind in {"linear", "feed_forward"}:
        hidden = layers.hidden if layers.kind == "feed_forward" else ()
        whole = given.token_frames if given.of_token else None
        return FeedForward(num_copies, given.num_features, outputs, hidden, layers.kernel, whole)
    if layers.kind == "tdnn_1989":
        first, second = layers.hidden
        return TokenTDNN(
            num_copies,
            given.num_features,
            given.token_frames,
            outputs,
            (first, second),
            layers.windows,
        )
    return StackTDNN(
        num_copies,
        given.num_features,
        outputs,
        layers.width,
        layers.dilations,
        layers.kernel,
        layers.dropout,
        layers.bottleneck,
    )
