"""A tree of routers: first a group of experts, then an expert within it, at any depth.

Legend: D decisions (frames or utterances), C channels, E experts, K selected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.sparse.balance import share_of_choices
from phoneme_moe.mixture.sparse.routers import Router
from phoneme_moe.mixture.sparse.scores import INITIAL_SPREAD
from phoneme_moe.mixture.sparse.selection import Choice, Weighting


class TreeChoice(Router):
    """Hierarchical selection: first a group, then an expert within it; a tree of any depth.

    The probability of an expert is the product of the decisions on its path (Jordan & Jacobs 1994).
    Only selected groups are scored, so the cost grows with the depth and not with the number of
    experts. ``top_k`` paths are kept at every level (beam search). ``trees.hierarchy`` is the soft
    tree, in which every leaf has a weight.
    """

    def __init__(
        self, num_features: int, levels: Sequence[int], top_k: int, weighting: Weighting = "after"
    ) -> None:
        """Creates the router with initial weights.

        Args:
            num_features: Channels of the inputs.
            levels: Branches at every level from the root; their product is the number of experts.
            top_k: Experts that each decision selects, at most the first level's branches.
            weighting: Weights are the path probabilities (``before``), or normalised over the
                selected paths (``after``).
        """
        super().__init__()
        self.levels = tuple(levels)
        self.num_experts = math.prod(levels)
        self.top_k = top_k
        self.weighting: Weighting = weighting
        self.bias = None
        nodes = [math.prod(self.levels[:depth]) for depth in range(len(self.levels))]
        self.weights = nn.ParameterList(
            torch.randn(count, num_features, branches) * INITIAL_SPREAD
            for count, branches in zip(nodes, self.levels, strict=True)
        )

    def forward(self, inputs: Tensor) -> Choice:
        """Selects experts for inputs of shape (decisions, channels)."""
        inputs = inputs.float()
        decisions = inputs.shape[0]
        node = torch.zeros(decisions, 1, dtype=torch.long, device=inputs.device)
        log_path = inputs.new_zeros(decisions, 1)
        levels = []
        with torch.autocast(inputs.device.type, enabled=False):
            for weight, branches in zip(self.weights, self.levels, strict=True):
                scores = _branch_scores(inputs, node, weight.float())  # (D, K, branches)
                log_child = log_path[..., None] + scores.log_softmax(dim=-1)
                child = node[..., None] * branches + torch.arange(branches, device=node.device)
                count = len(weight) * branches
                kept = log_child.flatten(1).topk(min(self.top_k, node.shape[1] * branches), dim=-1)
                node = child.flatten(1).gather(1, kept.indices)
                log_path = kept.values
                total = inputs.new_zeros(count).index_add(
                    0, child.flatten(), log_child.exp().flatten()
                )
                mean = total / max(decisions, 1)
                levels.append((mean, share_of_choices(node, count)))
        weights = log_path.softmax(dim=-1) if self.weighting == "after" else log_path.exp()
        return Choice(node, weights, tuple(levels))


def _branch_scores(inputs: Tensor, node: Tensor, weight: Tensor) -> Tensor:
    """Scores of the branches of the nodes that each decision has kept.

    Args:
        inputs: Shape (decisions, channels).
        node: Index of each kept node, shape (decisions, kept).
        weight: Weights of all nodes of the level, shape (nodes, channels, branches).

    Returns:
        Shape (decisions, kept, branches).
    """
    if len(weight) == 1:
        return (inputs @ weight[0])[:, None]
    if torch.onnx.is_in_onnx_export():  # sorting is not stable in ONNX
        return torch.einsum("dc,dkcb->dkb", inputs, weight[node])
    decisions, kept = node.shape
    branches = weight.shape[-1]
    flat = node.flatten()
    order = flat.argsort(stable=True)
    rows = inputs[order // kept]
    # One grouped product for all nodes; its sizes must be multiples of 16 bytes.
    missing = -branches % 4
    if inputs.dtype == torch.float32 and inputs.shape[1] % 4 == 0:
        ends = torch.bincount(flat, minlength=len(weight)).cumsum(0).to(torch.int32)
        padded = functional.pad(weight, (0, missing))
        scores = functional.grouped_mm(rows, padded, offs=ends)[:, :branches]
    else:
        scores = torch.einsum("rc,rcb->rb", rows, weight[flat[order]])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return scores[place].reshape(decisions, kept, branches)
