"""A mixture of experts: features to a gate and to experts, whose outputs are blended.

Meta-Pi (Hampshire & Waibel 1989-92; Jacobs et al. 1991), for any features::

    experts = Experts(FeedForward(4, num_features, num_classes, hidden=[32]))
    gate = Gate(FeedForward(1, num_features, 4))
    mixture = MixtureOfExperts(experts, gate)
    mixture(features).outputs          # log posteriors

Legend: B batch, T frames, E experts, P outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.combination import Combination, combine, combine_values
from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.routing import Routing, fixed_routing


@dataclass(frozen=True)
class MixtureOutput:
    """Outputs of a mixture and of its experts; without a frame axis for data without time.

    Attributes:
        outputs: Log posteriors, or values, of the mixture, shape (batch, frames, outputs).
        routing: Weights of the experts.
        expert_outputs: Outputs of every expert, shape (batch, frames, experts, outputs); None where
            each utterance was assigned to one expert.
    """

    outputs: Tensor
    routing: Routing
    expert_outputs: Tensor | None = None


def mix(
    experts: Experts,
    gate: Gate | None,
    features: Tensor,
    mask: Tensor | None = None,
    rule: Combination = "weighted_sum",
    *,
    expert: Tensor | None = None,
    expert_outputs: Tensor | None = None,
    override: RoutingOverride | None = None,
) -> MixtureOutput:
    """Computes a mixture of experts: experts, gate, combination.

    Args:
        experts: The experts.
        gate: Their gate; None where each utterance is assigned to one expert.
        features: Shape (batch, frames, features), or (cases, features) for data without time.
        mask: True for real frames, shape (batch, frames); all by default.
        rule: Combination rule (``mixture.combination``).
        expert: Index of the expert of each utterance, shape (batch,), in place of the gate; no
            other expert is computed.
        expert_outputs: Precomputed outputs of the experts, shape (batch, frames, experts, outputs);
            only the gate is computed.
        override: Replaces the gate's weights.

    Raises:
        InputError: The rule is unknown or does not apply to values, or there is neither gate nor
            expert.
    """
    if override is not None and len(override.only) == 1:
        expert = torch.full((len(features),), override.only[0], device=features.device)
    if expert is not None:
        return _assign(experts, features, mask, expert)
    if gate is None:
        raise InputError("gate: found none; expected a gate, or the expert of each utterance")
    if expert_outputs is None:
        expert_outputs = experts(features, mask)  # (B, T, E, P)
    routing = gate.route(features, mask)
    if override is not None:
        routing = override.reroute(routing)
    blend = combine_values if experts.outputs == "values" else combine
    return MixtureOutput(blend(rule, routing, expert_outputs), routing, expert_outputs)


def _assign(
    experts: Experts, features: Tensor, mask: Tensor | None, expert: Tensor
) -> MixtureOutput:
    """The outputs of one expert for each utterance."""
    if torch.onnx.is_in_onnx_export():  # a single expert, and batches of any size
        outputs = experts(features, mask)[..., 0, :]
    else:
        outputs = experts.assigned(features, mask, expert)  # (B, T, P)
    if mask is None:
        real = torch.ones(outputs.shape[:-1], dtype=torch.bool, device=outputs.device)
    else:
        real = mask[:, : outputs.shape[1]]
    return MixtureOutput(outputs, fixed_routing(expert, experts.num_experts, real))


class MixtureOfExperts(nn.Module):
    """Experts and their gate as one module."""

    def __init__(
        self, experts: Experts, gate: Gate, combination: Combination = "weighted_sum"
    ) -> None:
        """Combines experts and gate.

        Args:
            experts: The experts.
            gate: Their gate, with one output for each expert.
            combination: Combination rule (``mixture.combination``).
        """
        super().__init__()
        self.experts = experts
        self.gate = gate
        self.combination: Combination = combination

    def forward(
        self,
        features: Tensor,
        mask: Tensor | None = None,
        *,
        expert: Tensor | None = None,
        override: RoutingOverride | None = None,
    ) -> MixtureOutput:
        """Outputs and routing of a batch; arguments as in ``mix``."""
        return mix(
            self.experts,
            self.gate,
            features,
            mask,
            self.combination,
            expert=expert,
            override=override,
        )
