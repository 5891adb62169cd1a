"""Router metrics of sparse layers in an epoch: load, gradients, entropy, dead experts.

Legend: E experts of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phoneme_moe.mixture.sparse.balance import squared_variation
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.spread_experts import SpreadExperts, all_parts
from phoneme_moe.recipe import Sparse
from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.system.ranks import global_sum, num_ranks

GRADIENT_STEPS = 8
"""Steps between measurements of the gradients, each of which reads all of them."""


@dataclass(frozen=True)
class LayerMetrics:
    """Metrics of one router.

    Attributes:
        layer: Name of the layer.
        load: Each expert's fraction of the assignments; sums to 1.
        gradient: Each expert's fraction of the sum of gradient norms; sums to 1.
        entropy: Mean entropy of the router's decisions in nats, 0..log(experts).
        dropped: Fraction of the assignments dropped for lack of capacity, 0..1.
    """

    layer: str
    load: tuple[float, ...]
    gradient: tuple[float, ...]
    entropy: float
    dropped: float

    @property
    def variation(self) -> float:
        """Coefficient of variation of the load: 0 if even, ``sqrt(E - 1)`` for one expert."""
        return float(squared_variation(torch.tensor(self.load, dtype=torch.float64)).sqrt())

    @property
    def dead(self) -> tuple[int, ...]:
        """Experts with less than ``DEAD_PART`` of an equal share of the load."""
        least = DEAD_PART / len(self.load)
        return tuple(i for i, share in enumerate(self.load) if share < least)

    def by_name(self) -> dict[str, float]:
        """The metrics by their names in ``metrics.csv`` and TensorBoard."""
        layer = self.layer
        return {
            f"{layer}/variation": self.variation,
            f"{layer}/entropy": self.entropy,
            f"{layer}/dead": float(len(self.dead)),
            f"{layer}/dropped": self.dropped,
            **{f"{layer}/load/{i}": share for i, share in enumerate(self.load)},
            **{f"{layer}/gradient/{i}": share for i, share in enumerate(self.gradient)},
        }


class RouterMetrics:
    """Accumulates the metrics of a model's sparse layers over the steps of an epoch."""

    def __init__(self, layers: Sequence[SparseFeedForward | SoftFeedForward]) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.reset()

    def reset(self) -> None:
        """Starts an epoch."""
        self.steps = 0
        self.counts: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self.entropy: dict[str, Tensor] = {}
        self.dropped: dict[str, Tensor] = {}

    def add(self, routings: Sequence[LayerRouting]) -> None:
        """Adds a training step without copying from the device."""
        self.steps += 1
        for routing in routings:
            name = routing.layer
            for sums, value in (
                (self.counts, routing.counts.detach().float()),
                (self.entropy, routing.entropy),
                (self.dropped, routing.dropped.detach()),
            ):
                sums[name] = sums[name] + value if name in sums else value

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Adds the gradients of a step, every ``GRADIENT_STEPS`` steps."""
        if self.steps % GRADIENT_STEPS != 1 or not self.layers:
            return
        for name, layer in self.layers.items():
            squares = [
                p.grad.square().flatten(1).sum(dim=1)
                for p in layer.experts.parameters()
                if p.grad is not None
            ]
            if squares:
                norms = torch.stack(squares).sum(dim=0).sqrt()
                if isinstance(layer.experts, SpreadExperts):
                    norms = all_parts(norms)
                total = self.gradients.get(name)
                self.gradients[name] = norms if total is None else total + norms

    def sum_over_ranks(self) -> None:
        """Makes the metrics those of all processes that train together, at the end of an epoch.

        Gradients are those of all of them already.
        """
        for sums in (self.counts, self.entropy, self.dropped):
            for name, value in sums.items():
                sums[name] = global_sum(value)
        for sums in (self.entropy, self.dropped):
            for name in sums:
                sums[name] = sums[name] / num_ranks()

    def measure(self) -> list[LayerMetrics]:
        """The metrics of each layer in this epoch so far."""
        measured = []
        for name, counts in self.counts.items():
            gradients = self.gradients.get(name, torch.zeros_like(counts))
            measured.append(
                LayerMetrics(
                    name,
                    tuple((counts / counts.sum().clamp_min(1)).tolist()),
                    tuple((gradients / gradients.sum().clamp_min(1e-30)).tolist()),
                    float(self.entropy[name]) / self.steps,
                    float(self.dropped[name]) / self.steps,
                )
            )
        return measured


def advice(sparse: Sparse, layers: Sequence[LayerMetrics]) -> str | None:
    """A warning that names the setting to change if experts are dead, else None.

    Args:
        sparse: The recipe's section of sparse layers.
        layers: Metrics of each layer in an epoch.
    """
    affected = [layer for layer in layers if layer.dead]
    if not affected:
        return None
    worst = max(affected, key=lambda layer: len(layer.dead) / len(layer.load))
    number = len(worst.load)
    text = (
        f"{worst.layer}: {len(worst.dead)} of {number} experts get less than "
        f"{100 * DEAD_PART:.0f} % of an equal share"
    )
    if len(worst.dead) >= number / 2:
        text = f"{text}: the router has collapsed"
    key = "model.encoder.sparse"
    balance, router = sparse.balancing, sparse.router
    if router.kind == "soft":
        return f"{text}; lower {key}.num_experts ({sparse.num_experts} now)"
    if not router.learns:
        what = "kind" if router.function is None else "function"
        return f"{text}; change {key}.router.{what} ({getattr(router, what)} now)"
    if balance.bias_rate:
        return f"{text}; raise {key}.balance.bias_rate ({balance.bias_rate:g} now)"
    usual = "" if balance.switch else "; 0.01 is usual"
    return f"{text}; raise {key}.balance.switch ({balance.switch:g} now{usual})"
