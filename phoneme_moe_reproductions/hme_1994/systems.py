"""Trees on ten vowels: training by EM and by gradient, growing, pruning, jobs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from phoneme_moe.mixture.trees.em import em_step, gradient_step
from phoneme_moe.mixture.trees.hierarchy import (
    HierarchicalMixture,
    active_paths,
    balanced_tree,
    leaf_scores,
    prune,
    split_leaf,
)
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.vowels import FEATURES, VOWELS, Tokens, divide

LEAVES = (1, 2, 4, 8, 16)
GROWN_LEAVES = 8
PRIORS = (0.0, 0.1, 0.5)
GATE_SCALE = 1.0
NOISE = 0.1
"""Standard deviations of a new gate's weights, and of the noise on a split expert's copies."""

IN_USE = 0.01
"""An expert is in use if it has the largest weight in this share of the training tokens."""

TOLERANCE = 1e-9
"""Nats per token: a smaller fall of the likelihood is rounding."""

THRESHOLDS = (-15.0, -10.0, -5.6, -2.0)
OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "rprop": lambda parameters: torch.optim.Rprop(parameters, lr=0.01),
    "descent": lambda parameters: torch.optim.SGD(parameters, lr=20.0, momentum=0.15),
}


@dataclass(frozen=True)
class Lengths:
    """Iterations.

    Attributes:
        em: Of EM on a fixed tree.
        gradient: Epochs of gradient ascent.
        between: Of EM before each split.
        after: Of EM after the last split.
    """

    em: int = 150
    gradient: int = 1000
    between: int = 10
    after: int = 50


FULL = Lengths()
QUICK = Lengths(em=20, gradient=100, between=4, after=8)


@dataclass(frozen=True)
class System:
    """Structure and training of a tree.

    Attributes:
        method: ``em``, ``rprop`` or ``descent``.
        leaves: Of a balanced binary tree, or when fully grown.
        features: A key of ``FEATURES``.
        prior: Precision of a Gaussian prior on all weights; 0 is maximum likelihood.
        grown: Whether it begins with one leaf and splits.
        matched: Whether a fixed tree has as many iterations as a grown one.
    """

    method: str
    leaves: int
    features: str = "F0-F3"
    prior: float = 0.0
    grown: bool = False
    matched: bool = False


def growing_systems(features: str, prior: float) -> dict[str, System]:
    """One leaf, eight from the start, and eight grown."""
    base = System("em", GROWN_LEAVES, features, prior, matched=True)
    tag = f"{features.replace(' ', '')}_{prior:g}"
    return {
        f"one_{tag}": replace(base, leaves=1),
        f"fixed_{tag}": base,
        f"grown_{tag}": replace(base, grown=True),
    }


SYSTEMS: Mapping[str, System] = {
    **{f"em_{n}": System("em", n) for n in LEAVES},
    **{f"rprop_{n}": System("rprop", n) for n in LEAVES},
    "descent_8": System("descent", 8),
    **{
        name: system
        for features in FEATURES
        for prior in PRIORS
        for name, system in growing_systems(features, prior).items()
    },
}
PRUNED = ("em_16", "fixed_F0-F3_0.5")


@dataclass
class Training:
    """State of a training.

    Attributes:
        mixture: Current tree.
        curve: Log likelihood per training token, nats, before each iteration.
        best: The tree with the largest dev likelihood since the last split.
        best_dev: That likelihood per token, nats.
        stopped_at: Iteration of that tree.
        falls: Iterations of EM that lowered its objective.
    """

    mixture: HierarchicalMixture
    curve: list[float]
    best: HierarchicalMixture
    best_dev: float = -float("inf")
    stopped_at: int = 0
    falls: int = 0

    def check(self, dev: Tokens) -> None:
        """Keeps the mixture if its dev likelihood is the largest so far."""
        with torch.no_grad():
            likelihood = float(self.mixture.log_likelihood(dev.inputs, dev.vowel).mean())
        if likelihood > self.best_dev:
            self.best, self.best_dev = copy.deepcopy(self.mixture), likelihood
            self.stopped_at = len(self.curve)


def train(system: System, parts: Mapping[str, Tokens], lengths: Lengths, seed: int) -> Training:
    """Trains a tree; methods with the same seed begin with the same weights."""
    torch.manual_seed(seed)
    train_tokens, dev = parts["train"], parts["dev"]
    depth = (1 if system.grown else system.leaves).bit_length() - 1
    mixture = HierarchicalMixture(
        train_tokens.inputs.shape[1], len(VOWELS), balanced_tree((2,) * depth), GATE_SCALE
    ).double()
    state = Training(mixture, [], mixture)
    if system.method != "em":
        optimizer = OPTIMIZERS[system.method](mixture.parameters())
        for epoch in range(lengths.gradient):
            state.curve.append(
                gradient_step(mixture, optimizer, train_tokens.inputs, train_tokens.vowel)
            )
            if epoch % 10 == 0:
                state.check(dev)
        return state
    rest = lengths.after if system.grown else lengths.em
    if system.matched and not system.grown:
        # Growing takes one split less than there are leaves in the end.
        rest = lengths.between * (GROWN_LEAVES - 1) + lengths.after
    while state.mixture.num_leaves < system.leaves:
        run_em(state, train_tokens, dev, lengths.between, system.prior)
        worst = int(leaf_scores(state.mixture, train_tokens.inputs, train_tokens.vowel).argmin())
        state.mixture = split_leaf(state.mixture, worst, GATE_SCALE, NOISE)
        state.best_dev = -float("inf")
    run_em(state, train_tokens, dev, rest, system.prior)
    return state


def run_em(
    state: Training, train_tokens: Tokens, dev: Tokens, iterations: int, prior: float
) -> None:
    """Iterations of EM on the current tree."""
    before = -float("inf")
    for _ in range(iterations):
        squares = sum(float(p.detach().square().sum()) for p in state.mixture.parameters())
        likelihood = em_step(state.mixture, train_tokens.inputs, train_tokens.vowel, prior)
        state.curve.append(likelihood)
        objective = likelihood - prior / 2 * squares / len(train_tokens.vowel)
        state.falls += objective < before - TOLERANCE
        before = objective
        state.check(dev)


def measure(mixture: HierarchicalMixture, tokens: Tokens) -> tuple[float, float]:
    """Accuracy in per cent, and log likelihood per token in nats."""
    with torch.no_grad():
        right = mixture.log_posteriors(tokens.inputs).argmax(dim=-1) == tokens.vowel
        likelihood = mixture.log_likelihood(tokens.inputs, tokens.vowel).mean()
    return 100 * float(right.double().mean()), float(likelihood)


def experts_in_use(mixture: HierarchicalMixture, tokens: Tokens) -> tuple[float, int]:
    """Effective number (exp of the entropy of the mean weights), and how many are in use."""
    with torch.no_grad():
        weights = mixture.log_leaf_weights(tokens.inputs).exp()
    mean = weights.mean(dim=0)
    winners = torch.bincount(weights.argmax(dim=-1), minlength=mixture.num_leaves)
    effective = float(torch.exp(-torch.special.xlogy(mean, mean).sum()))
    return effective, int((winners >= IN_USE * len(weights)).sum())


def pruned(mixture: HierarchicalMixture, parts: Mapping[str, Tokens]) -> list[dict[str, float]]:
    """Size and accuracy after pruning at each threshold.

    Returns:
        For each of ``THRESHOLDS``: ``paths`` followed for a test token (mean), ``accuracy`` by
        these alone; ``leaves`` of no less mean training weight, ``tree``, the accuracy of these.
    """
    test, entries = parts["test"], []
    with torch.no_grad():
        log_weights, leaf_posteriors = mixture(test.inputs)
        loads = mixture.log_leaf_weights(parts["train"].inputs).exp().mean(dim=0).log()  # (L,)
        for threshold in THRESHOLDS:
            active = active_paths(log_weights, threshold)
            shares = log_weights.masked_fill(~active, -torch.inf).log_softmax(dim=-1)
            log_posteriors = torch.logsumexp(shares[..., None] + leaf_posteriors, dim=-2)
            right = log_posteriors.argmax(dim=-1) == test.vowel
            keep = active_paths(loads[None], threshold)[0]
            entries.append(
                {
                    "threshold": threshold,
                    "paths": float(active.sum(dim=-1).double().mean()),
                    "accuracy": 100 * float(right.double().mean()),
                    "leaves": int(keep.sum()),
                    "tree": measure(prune(mixture, keep), test)[0],
                }
            )
    return entries


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each system and seed."""
    return [
        Job(f"{name}_seed_{seed}", {"system": name, "seed": seed, "quick": quick})
        for seed in range(seeds)
        for name in SYSTEMS
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains a system once and measures it at the early stop by dev tokens, and at the end."""
    system = SYSTEMS[settings["system"]]
    parts = divide(settings["seed"], system.features)
    state = train(system, parts, QUICK if settings["quick"] else FULL, settings["seed"])
    effective, in_use = experts_in_use(state.mixture, parts["train"])
    return {
        "curve": [round(value, 6) for value in state.curve],
        "falls": state.falls,
        "stopped_at": state.stopped_at,
        "test": measure(state.best, parts["test"])[0],
        "test_end": measure(state.mixture, parts["test"])[0],
        "dev": state.best_dev,
        "dev_end": measure(state.mixture, parts["dev"])[1],
        "train_likelihood": measure(state.mixture, parts["train"])[1],
        "effective": effective,
        "in_use": in_use,
        "pruned": pruned(state.mixture, parts) if settings["system"] in PRUNED else [],
    }
