"""Hierarchical mixtures of experts: a tree of gates with an expert at every leaf.

Each gate divides its inputs softly among its branches; the weight of a leaf is the product of the
gates' proportions along its path (Jordan & Jacobs 1994). Experts and gates are multinomial logits
(linear maps with a softmax). ``em`` trains them by expectation maximisation; since everything is
differentiable, any optimiser can be used as well.

A tree is represented by one boolean array, the paths: whether the path to leaf l takes branch b of
gate g. It can represent any depth and branching, balanced or not; gates with fewer branches than
the widest have branches that no path takes. Weights and posteriors are then single products over
all leaves, splitting a leaf adds a row and a gate, and pruning removes rows.

Legend: C cases, L leaves (experts), G gates, B branches of the widest gate, F inputs and a constant
1, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn


def balanced_tree(branching: Sequence[int]) -> Tensor:
    """Paths of a tree in which all gates of a level have the same number of branches.

    Args:
        branching: Number of branches of the gates at each level, from the root; empty for a single
            leaf.

    Returns:
        Boolean, shape (leaves, gates, branches). Gates are ordered by level.
    """
    num_leaves = prod(branching)
    num_gates = sum(prod(branching[:level]) for level in range(len(branching)))
    paths = torch.zeros(num_leaves, num_gates, max(branching, default=1), dtype=torch.bool)
    leaf = torch.arange(num_leaves)
    first = 0
    for level, branches in enumerate(branching):
        below = prod(branching[level + 1 :])
        paths[leaf, first + leaf // (below * branches), leaf // below % branches] = True
        first += prod(branching[:level])
    return paths


class HierarchicalMixture(nn.Module):
    """A tree of softmax gates over multinomial logits (Jordan & Jacobs 1994).

    Attributes:
        paths: The tree, boolean, shape (leaves, gates, branches).
        experts: Weights, shape (leaves, inputs + 1, classes); the last row is the bias.
        gates: Weights, shape (gates, inputs + 1, branches); columns of branches that no path takes
            have no effect.
    """

    paths: Tensor

    def __init__(self, num_inputs: int, num_classes: int, paths: Tensor, scale: float = 1.0):
        """Creates gates with random weights, and experts.

        Args:
            num_inputs: Features of a case.
            num_classes: Number of classes.
            paths: Tree, from ``balanced_tree`` or another mixture.
            scale: Standard deviation of the gates' initial weights. Experts start at zero; the
                gates make them differ.
        """
        super().__init__()
        num_leaves, num_gates, branches = paths.shape
        self.register_buffer("paths", paths)
        self.experts = nn.Parameter(torch.zeros(num_leaves, num_inputs + 1, num_classes))
        self.gates = nn.Parameter(scale * torch.randn(num_gates, num_inputs + 1, branches))

    @property
    def num_leaves(self) -> int:
        """Number of experts."""
        return len(self.paths)

    @property
    def branches(self) -> Tensor:
        """Which branches exist, boolean, shape (gates, branches)."""
        return self.paths.any(dim=0)

    def log_proportions(self, inputs: Tensor) -> Tensor:
        """Output of every gate, independent of the gates above it.

        Args:
            inputs: Shape (cases, inputs).

        Returns:
            Log proportions, shape (cases, gates, branches), normalised over the branches of a gate;
            0 for branches that do not exist.
        """
        scores = log_softmax_scores(self.gates, with_constant(inputs), self.branches)
        return scores.transpose(0, 1)

    def log_leaf_weights(self, inputs: Tensor) -> Tensor:
        """Logarithms of the leaves' weights, products along the paths, shape (cases, leaves)."""
        proportions = self.log_proportions(inputs).flatten(1)  # (C, G * B)
        return proportions @ self.paths.flatten(1).to(proportions.dtype).T

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and log posteriors of all experts.

        Args:
            inputs: Shape (cases, inputs).

        Returns:
            Logarithms of the leaves' weights, shape (cases, leaves), and of every expert's class
            probabilities, shape (cases, leaves, classes).
        """
        log_posteriors = log_softmax_scores(self.experts, with_constant(inputs)).transpose(0, 1)
        return self.log_leaf_weights(inputs), log_posteriors

    def log_posteriors(self, inputs: Tensor) -> Tensor:
        """Logarithms of the mixture's class probabilities, shape (cases, classes)."""
        log_weights, log_posteriors = self(inputs)
        return torch.logsumexp(log_weights[..., None] + log_posteriors, dim=-2)

    def log_joint(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Log joint probability of each leaf and the class of each case.

        Args:
            inputs: Shape (cases, inputs).
            classes: Class of each case, shape (cases,).

        Returns:
            Shape (cases, leaves). The logsumexp over leaves is the log likelihood of a case, the
            softmax the posterior h of the leaves.
        """
        log_weights, log_posteriors = self(inputs)
        joint: Tensor = log_weights + of_classes(log_posteriors, classes)
        return joint

    def log_likelihood(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Log probability of the class of each case, shape (cases,)."""
        return torch.logsumexp(self.log_joint(inputs, classes), dim=-1)


def with_constant(inputs: Tensor) -> Tensor:
    """Appends a constant 1 for the bias, shape (cases, inputs + 1)."""
    return torch.nn.functional.pad(inputs, (0, 1), value=1.0)


def of_classes(log_posteriors: Tensor, classes: Tensor) -> Tensor:
    """Selects the class of each case: (cases, leaves, classes) to (cases, leaves)."""
    return log_posteriors.take_along_dim(classes[:, None, None], dim=-1)[..., 0]


def log_softmax_scores(weights: Tensor, design: Tensor, exists: Tensor | None = None) -> Tensor:
    """Log probabilities of a batch of multinomial logits for the same cases.

    Args:
        weights: Shape (logits, inputs + 1, categories).
        design: Inputs with a constant 1, shape (cases, inputs + 1).
        exists: Which categories exist, shape (logits, categories); all by default.

    Returns:
        Shape (logits, cases, categories); 0 for categories that do not exist, so that sums ignore
        them.
    """
    scores = design @ weights
    if exists is None:
        return torch.log_softmax(scores, dim=-1)
    missing = ~exists[:, None]
    logs: Tensor = scores.masked_fill(missing, -torch.inf).log_softmax(dim=-1)
    return logs.masked_fill(missing, 0.0)


def branch_posteriors(leaf_posteriors: Tensor, paths: Tensor) -> Tensor:
    """Posterior probability of each branch, given the class of a case.

    For two levels this is h_i at the root and ``h_i h_{j|i}`` below (Jordan & Jacobs 1994). The sum
    over the branches of a gate is the posterior h_i of reaching that gate; dividing by it gives
    h_{j|i}.

    Args:
        leaf_posteriors: Posteriors of the leaves, shape (cases, leaves).
        paths: Shape (leaves, gates, branches).

    Returns:
        Shape (cases, gates, branches).
    """
    along: Tensor = leaf_posteriors @ paths.flatten(1).to(leaf_posteriors.dtype)  # (C, G * B)
    return along.view(len(along), *paths.shape[1:])


@torch.no_grad()
def leaf_scores(mixture: HierarchicalMixture, inputs: Tensor, classes: Tensor) -> Tensor:
    """Weighted log likelihood of each leaf: ``sum_t g_k(t) log P_k(t)``.

    The leaf with the lowest value is split next (Fritsch, Finke & Waibel 1997).

    Args:
        mixture: The tree.
        inputs: Shape (cases, inputs).
        classes: Class of each case, shape (cases,).

    Returns:
        In nats, 0 or less, shape (leaves,).
    """
    log_weights, log_posteriors = mixture(inputs)
    scores: Tensor = (log_weights.exp() * of_classes(log_posteriors, classes)).sum(dim=0)
    return scores


@torch.no_grad()
def split_leaf(
    mixture: HierarchicalMixture, leaf: int, scale: float = 1.0, noise: float = 0.0
) -> HierarchicalMixture:
    """Replaces a leaf by a gate with two branches, each with a copy of its expert.

    Follows Fritsch, Finke & Waibel (1997): the gate is random, the copies are perturbed. Without
    noise the function of the mixture does not change.

    Args:
        mixture: The mixture, which is not changed.
        leaf: Index of the leaf to split.
        scale: Standard deviation of the new gate's weights.
        noise: Standard deviation of the perturbation of the experts' weights.

    Returns:
        A mixture with one more leaf, which is the last.
    """
    num_leaves, num_gates, branches = mixture.paths.shape
    paths = mixture.paths.new_zeros(num_leaves + 1, num_gates + 1, max(branches, 2))
    source = torch.cat([torch.arange(num_leaves), torch.tensor([leaf])])
    paths[:, :num_gates, :branches] = mixture.paths[source]
    paths[leaf, num_gates, 0] = paths[num_leaves, num_gates, 1] = True
    grown = _like(mixture, paths, scale)
    grown.experts.copy_(mixture.experts[source])
    for copy in (leaf, num_leaves):
        grown.experts[copy] += noise * torch.randn_like(grown.experts[copy])
    grown.gates[:num_gates, :, :branches] = mixture.gates
    return grown


@torch.no_grad()
def prune(mixture: HierarchicalMixture, keep: Tensor) -> HierarchicalMixture:
    """Removes leaves; their weight goes to the remaining branches of their gates.

    Gates with a single remaining branch are removed too.

    Args:
        mixture: The mixture, which is not changed.
        keep: Which leaves to keep, boolean, shape (leaves,).

    Raises:
        ValueError: No leaf is kept.
    """
    if not keep.any():
        raise ValueError("keep: expected at least one leaf to keep, found none")
    paths = mixture.paths[keep]
    dividing = paths.any(dim=0).sum(dim=-1) > 1  # (G,)
    pruned = _like(mixture, paths[:, dividing])
    pruned.experts.copy_(mixture.experts[keep])
    pruned.gates.copy_(mixture.gates[dividing])
    return pruned


def active_paths(log_weights: Tensor, threshold: float) -> Tensor:
    """Which paths are active: those with a log activation of at least a threshold.

    Waterhouse & Robinson (1996) prune paths in this way, case by case, with thresholds of -5.6 to
    -15. Leaves that are active in no case can be removed by ``prune``.

    Args:
        log_weights: Log weights of the leaves, shape (cases, leaves).
        threshold: Natural logarithm.

    Returns:
        Boolean, shape (cases, leaves). The strongest leaf of a case is always active.
    """
    return (log_weights >= threshold) | (log_weights == log_weights.amax(dim=-1, keepdim=True))


def _like(mixture: HierarchicalMixture, paths: Tensor, scale: float = 0.0) -> HierarchicalMixture:
    """A mixture with the same inputs and classes, but another tree."""
    _, inputs_and_constant, num_classes = mixture.experts.shape
    other = HierarchicalMixture(inputs_and_constant - 1, num_classes, paths, scale)
    return other.to(mixture.experts)
