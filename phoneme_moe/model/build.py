"""Builds experts, gate and encoder, with initial weights, from the sections of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from torch import nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork, fixed, registered
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.mixture.sparse.balance import SelectionBias
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.routers import ExpertChoice, Router, TokenChoice
from phoneme_moe.mixture.sparse.scores import (
    ContextWindow,
    GivenScores,
    Scores,
)
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice
from phoneme_moe.model.encoder import DenseFeedForward, Encoder, FeedForwardPart
from phoneme_moe.recipe import Gating, Model, Network
from phoneme_moe.recipe.encoder import EncoderSection, Sparse
from phoneme_moe.recipe.router_kinds import ROUTERS

JITTER = 0.01
"""Default width of jitter (Switch: Fedus et al. 2021)."""


@dataclass(frozen=True)
class NetworkInput:
    """Input of experts and gate.

    Attributes:
        num_features: Features of a frame.
        token_frames: Frames of an excised token.
        of_token: Whether the inputs are tokens instead of utterances.
    """

    num_features: int
    token_frames: int
    of_token: bool


def build_experts(
    model: Model, names: tuple[str, ...], inputs: NetworkInput, outputs: int
) -> Experts:
    """Builds the experts with initial weights: networks, then functions.

    Args:
        model: Section ``model`` of the recipe.
        names: Names of the experts, functions last.
        inputs: Input of the experts.
        outputs: Number of outputs of each expert.

    Raises:
        InputError: A function is not registered.
    """

    def function_of(name: str | None, key: str) -> FunctionNetwork:
        assert name is not None
        function = registered("expert", name, f"model.{key}")
        return FunctionNetwork(function, outputs, name=name, token=inputs.of_token)

    num_networks = len(names) - len(model.functions)
    network: nn.Module
    if model.expert.kind == "function":
        network = function_of(model.expert.function, "expert.function")
    else:
        network = _build_network(model.expert, num_networks, inputs, outputs)
    functions = [function_of(name, "functions") for name in model.functions]
    return Experts(network, functions=functions)


def build_gate(gating: Gating, experts: tuple[str, ...], inputs: NetworkInput) -> Gate:
    """Builds the gate with initial weights.

    Args:
        gating: Section ``model.gate`` of the recipe.
        experts: Names of the experts.
        inputs: Input of the gate.

    Raises:
        InputError: A function is not registered, or a fixed gate has a wrong number of weights.
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
        return Gate(_build_network(gating, 1, inputs, len(experts)), gating.activation)
    name = gating.function or gating.kind
    network = FunctionNetwork(function, len(experts), name=name, token=inputs.of_token)
    return Gate(network, gating.activation)


def _build_network(
    layers: Network | Gating, num_copies: int, inputs: NetworkInput, outputs: int
) -> nn.Module:
    if layers.kind in {"linear", "feed_forward"}:
        hidden = layers.hidden if layers.kind == "feed_forward" else ()
        whole = inputs.token_frames if inputs.of_token else None
        return FeedForward(num_copies, inputs.num_features, outputs, hidden, layers.kernel, whole)
    if layers.kind == "tdnn_1989":
        first, second = layers.hidden
        return TokenTDNN(
            num_copies,
            inputs.num_features,
            inputs.token_frames,
            outputs,
            (first, second),
            layers.windows,
        )
    return StackTDNN(
        num_copies,
        inputs.num_features,
        outputs,
        layers.width,
        layers.dilations,
        layers.kernel,
        layers.dropout,
        layers.bottleneck,
    )


def build_encoder(section: EncoderSection, num_features: int, num_outputs: int) -> Encoder:
    """Builds the encoder with initial weights.

    Args:
        section: Section ``model.encoder`` of the recipe.
        num_features: Features of a frame.
        num_outputs: Number of outputs.

    Raises:
        InputError: A rule is not registered.
    """
    parts: list[FeedForwardPart] = []
    for block in range(len(section.dilations)):
        if section.sparse is None or not section.is_sparse(block):
            parts.append(DenseFeedForward(section.width, section.hidden))
        else:
            name = f"block_{block + 1}"
            parts.append(_sparse_part(section.sparse, name, block, section.width))
    return Encoder(
        num_features,
        num_outputs,
        width=section.width,
        bottleneck=section.bottleneck,
        kernel=section.kernel,
        dilations=section.dilations,
        feed_forwards=parts,
        dropout=section.dropout,
    )


def _sparse_part(
    sparse: Sparse, name: str, seed: int, width: int
) -> SparseFeedForward | SoftFeedForward:
    experts = ExpertFeedForward(
        sparse.num_routed, width, sparse.expert_hidden, dropout=sparse.dropout
    )
    shared = None
    if sparse.shared:
        shared = DenseFeedForward(width, sparse.shared * sparse.expert_hidden)
    router = sparse.router
    if router.kind == "soft":
        return SoftFeedForward(experts, router.slots, router.window, shared=shared, name=name)
    beside: ContextWindow | FunctionNetwork | None = None
    num_features = width
    if router.sees == "context":
        beside = ContextWindow(width, router.context_width, router.context_frames)
        num_features = router.context_width
    elif router.sees == "embedding":
        assert router.embedding_size is not None
        num_features = router.embedding_size
    elif router.function is not None:
        key = "model.encoder.sparse.router.function"
        function = registered("gate", router.function, key)
        beside = FunctionNetwork(function, sparse.num_routed, name=router.function)
    balance = sparse.balancing
    return SparseFeedForward(
        experts,
        _build_router(sparse, num_features, seed),
        sees=router.sees if router.function is None else "rule",
        beside=beside,
        balance=BalanceWeights(balance.switch, balance.importance, balance.load, balance.z),
        capacity=sparse.capacity,
        shared=shared,
        name=name,
    )


def _build_router(sparse: Sparse, num_features: int, seed: int) -> Router:
    router = sparse.router
    if router.levels is not None:
        return TreeChoice(num_features, router.levels, sparse.routed_top_k, router.weigh)
    scores: Scores = GivenScores(sparse.num_routed)
    place = ROUTERS[router.kind].scores
    if place is not None:
        module, _, name = place.partition(":")
        scores = getattr(import_module(module), name)(num_features, sparse.num_routed, seed)
    balance = sparse.balancing
    bias = None
    if balance.bias_rate:
        bias = SelectionBias(sparse.num_routed, balance.bias_rate, balance.bias_steps)
    if router.selection == "expert_choice":
        per_frame = float(sparse.routed_top_k)
        return ExpertChoice(
            scores, per_frame, score=router.score, weighting=router.weigh, bias=bias
        )
    return TokenChoice(
        scores,
        sparse.routed_top_k,
        score=router.score,
        weighting=router.weigh,
        noise=router.noise,
        noise_scale=router.noise_scale or (JITTER if router.noise == "jitter" else 1.0),
        straight_through=router.straight_through,
        selection="balanced" if router.selection == "balanced" else "top_k",
        bias=bias,
    )
