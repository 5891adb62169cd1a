"""Cost of a model: parameters, active parameters, multiply-adds per frame, memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import TokenChoice
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice
from phoneme_moe.model.encoder import Encoder
from phoneme_moe.model.recognizer import Recognizer


@dataclass(frozen=True)
class Cost:
    """Cost of processing one (stacked) frame with an encoder.

    Attributes:
        total: Parameters.
        active: Parameters used by a frame, excluding experts that it is not routed to.
        multiply_adds: Multiply-adds of all linear maps, without normalisation and activation.
    """

    total: int
    active: int
    multiply_adds: int


def cost_of(encoder: Encoder) -> Cost:
    """Counts parameters and multiply-adds.

    Args:
        encoder: A dense or sparse encoder.
    """
    total = sum(p.numel() for p in encoder.parameters())
    idle = 0
    products = _linear_maps(encoder)
    for layer in encoder.sparse_layers:
        experts = layer.experts
        one = sum(p.numel() for p in experts.parameters()) // experts.num_experts
        maps = experts.weight_in[0].numel() + experts.weight_out[0].numel()
        if isinstance(layer, SoftFeedForward):
            slots = experts.num_experts * layer.slots
            # Scores, dispatch and combination for every slot, plus the experts on the slots.
            products += 3 * layer.directions.numel() + maps * slots // layer.window
        else:
            active = layer.router.experts_per_frame
            idle += round((experts.num_experts - active) * one)
            products += round(active * maps) + _routing(layer)
    return Cost(total, total - idle, products)


def _linear_maps(encoder: Encoder) -> int:
    """Multiply-adds of the plain linear maps, including a router's context window."""
    return sum(m.weight.numel() for m in encoder.modules() if isinstance(m, nn.Linear))


def _routing(layer: SparseFeedForward) -> int:
    router = layer.router
    if layer.sees in {"utterance", "embedding"}:
        # Once per utterance: no cost per frame.
        return 0
    if isinstance(router, TreeChoice):
        # One node at the first level, then the paths in the beam.
        widths = [1, *([router.top_k] * (len(router.levels) - 1))]
        sizes = zip(widths, router.weights, strict=True)
        return sum(number * weight.shape[1] * weight.shape[2] for number, weight in sizes)
    assert isinstance(router, TokenChoice)
    products = 0 if router.spread is None else router.spread.numel()
    return products + router.scores.multiply_adds


@dataclass(frozen=True)
class ModelCost:
    """Cost of a whole model without its timing net.

    Attributes:
        parameters: Number of weights.
        active_parameters: Weights active per frame.
        multiply_adds_per_frame: Multiply-adds of linear maps and convolutions for one frame of
            posteriors or one token; None without any.
        frame_ms: Duration of one frame of posteriors, or one token, in milliseconds.
        weight_bytes: Memory of the weights.
    """

    parameters: int
    active_parameters: int
    multiply_adds_per_frame: int | None
    frame_ms: float
    weight_bytes: int


def model_cost(recognizer: Recognizer) -> ModelCost:
    """Computes the cost of a model; behind a gate, all experts process every frame and are counted.

    Args:
        recognizer: The model.
    """
    weights = [
        weight for name, weight in recognizer.named_parameters() if not name.startswith("timing.")
    ]
    total = sum(weight.numel() for weight in weights)
    encoder = recognizer.encoder
    cost = None if encoder is None else cost_of(encoder)
    token = recognizer.task.kind == "classify"
    return ModelCost(
        parameters=total,
        active_parameters=total if cost is None else cost.active,
        multiply_adds_per_frame=_counted(recognizer) if cost is None else cost.multiply_adds,
        frame_ms=float(recognizer.task.token_ms) if token else 1000 * recognizer.frame_seconds,
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
    )


@torch.no_grad()
def _counted(recognizer: Recognizer) -> int | None:
    """Multiply-adds of experts and gate for a frame, counted in a forward pass."""
    if recognizer.task.kind == "classify":
        num_frames, decisions = recognizer.front_end.num_frames(recognizer.token_samples), 1
    else:
        num_frames, decisions = 200 * recognizer.stack, 200
    features = torch.zeros(
        1, num_frames, recognizer.front_end.num_features, device=recognizer.device
    )
    mask = torch.ones(1, num_frames, dtype=torch.bool, device=recognizer.device)
    expert = None
    if recognizer.gate_is_speaker:
        expert = torch.zeros(1, dtype=torch.long, device=recognizer.device)
    counter = FlopCounterMode(display=False)
    with counter:
        recognizer(features, mask, expert)
    # A multiply-add is two floating point operations.
    return round(counter.get_total_flops() / 2 / decisions) or None
