"""Cost of an encoder: parameters, active parameters, multiply-adds per frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import LinearScores, TokenChoice, TreeChoice
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.model.encoder import Encoder


@dataclass(frozen=True)
class Cost:
    """Cost of one (stacked) frame through an encoder.

    Attributes:
        total: Parameters.
        active: Parameters that a frame uses: without those of experts it is not routed to.
        multiply_adds: Of all linear maps; normalisation and activation are not counted.
    """

    total: int
    active: int
    multiply_adds: int


def cost_of(encoder: Encoder) -> Cost:
    """Counts parameters and multiply-adds.

    Args:
        encoder: Dense or sparse.
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
            # Scores, dispatch and combination for every slot; then the experts on the slots.
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
        # One path at the first level, then those in the beam.
        widths = [1, *([router.top_k] * (len(router.levels) - 1))]
        sizes = zip(widths, router.weights, strict=True)
        return sum(number * weight.shape[1] * weight.shape[2] for number, weight in sizes)
    assert isinstance(router, TokenChoice)
    products = 0 if router.spread is None else router.spread.numel()
    if isinstance(router.scores, LinearScores):
        return products + router.scores.weight.numel()
    return products + sum(b.numel() for b in router.scores.buffers())
