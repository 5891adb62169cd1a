"""Trees on ten vowels: training by EM and by gradient, growing, jobs."""

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
from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.peterson_barney import VOWELS
from phoneme_moe.reproductions.vowels import FEATURES, Tokens, divide

LEAVES = (1, 2, 4, 8, 16)
GROWN_LEAVES = 8
PRIORS = (0.0, 0.1, 0.5)
GATE_SCALE = 1.0
NOISE = 0.1
"""Standard deviations: of a new gate's weights, and of what sets a split expert's copies apart."""

IN_USE = 0.01
"""An expert is in use if it has the largest weight in this share of the training tokens."""

FELL = 1e-9
"""Nats per token: what is less than this is rounding."""

THRESHOLDS = (-15.0, -10.0, -5.6, -2.0)
OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "rprop": lambda parameters: torch.optim.Rprop(parameters, lr=0.01),
    "descent": lambda parameters: torch.optim.SGD(parameters, lr=20.0, momentum=0.15),
}


@dataclass(frozen=True)
class Lengths:
    """Iterations.

    Attributes:
        em: Of EM on a tree that stays as it is.
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
    """How a tree comes about.

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
    """A training on its way.

    Attributes:
        mixture: As it is now.
        curve: Log likelihood per training token, nats, before each iteration.
        best: As it was when dev tokens had the largest likelihood, since it last grew.
        best_dev: That likelihood per token, nats.
        stopped_at: The iteration of that.
        falls: Iterations of EM that lowered what it maximises.
    """

    mixture: HierarchicalMixture
    curve: list[float]
    best: HierarchicalMixture
    best_dev: float = -float("inf")
    stopped_at: int = 0
    falls: int = 0

    def watch(self, dev: Tokens) -> None:
        """Keeps the mixture if dev tokens have never been likelier."""
        with torch.no_grad():
            found = float(self.mixture.log_likelihood(dev.inputs, dev.vowel).mean())
        if found > self.best_dev:
            self.best, self.best_dev = copy.deepcopy(self.mixture), found
            self.stopped_at = len(self.curve)


def train(system: System, parts: Mapping[str, Tokens], lengths: Lengths, seed: int) -> Training:
    """Trains a tree; methods with the same seed begin with the same weights."""
    torch.manual_seed(seed)
    own, dev = parts["train"], parts["dev"]
    depth = (1 if system.grown else system.leaves).bit_length() - 1
    mixture = HierarchicalMixture(
        own.inputs.shape[1], len(VOWELS), balanced_tree((2,) * depth), GATE_SCALE
    ).double()
    course = Training(mixture, [], mixture)
    if system.method != "em":
        optimizer = OPTIMIZERS[system.method](mixture.parameters())
        for epoch in range(lengths.gradient):
            course.curve.append(gradient_step(mixture, optimizer, own.inputs, own.vowel))
            if epoch % 10 == 0:
                course.watch(dev)
        return course
    rest = lengths.after if system.grown else lengths.em
    if system.matched and not system.grown:
        # Growing takes one split less than there are leaves in the end.
        rest = lengths.between * (GROWN_LEAVES - 1) + lengths.after
    while course.mixture.num_leaves < system.leaves:
        climb(course, own, dev, lengths.between, system.prior)
        worst = int(leaf_scores(course.mixture, own.inputs, own.vowel).argmin())
        course.mixture = split_leaf(course.mixture, worst, GATE_SCALE, NOISE)
        course.best_dev = -float("inf")
    climb(course, own, dev, rest, system.prior)
    return course


def climb(course: Training, own: Tokens, dev: Tokens, iterations: int, prior: float) -> None:
    """Some iterations of EM on the tree as it is."""
    before = -float("inf")
    for _ in range(iterations):
        squares = sum(float(p.detach().square().sum()) for p in course.mixture.parameters())
        found = em_step(course.mixture, own.inputs, own.vowel, prior)
        course.curve.append(found)
        maximised = found - prior / 2 * squares / len(own.vowel)
        course.falls += maximised < before - FELL
        before = maximised
        course.watch(dev)


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
    """What pruning paths at each threshold leaves, and what it costs.

    Returns:
        For each of ``THRESHOLDS``: ``paths`` followed for a test token (mean), ``accuracy`` by
        these alone; ``leaves`` of no less mean training weight, ``tree``, the accuracy of these.
    """
    test, entries = parts["test"], []
    with torch.no_grad():
        log_weights, answers = mixture(test.inputs)
        loads = mixture.log_leaf_weights(parts["train"].inputs).exp().mean(dim=0).log()  # (L,)
        for threshold in THRESHOLDS:
            active = active_paths(log_weights, threshold)
            shares = log_weights.masked_fill(~active, -torch.inf).log_softmax(dim=-1)
            said = torch.logsumexp(shares[..., None] + answers, dim=-2)
            right = said.argmax(dim=-1) == test.vowel
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
    """Trains a system once and measures it where dev tokens would stop it, and at the end."""
    system = SYSTEMS[settings["system"]]
    parts = divide(settings["seed"], system.features)
    course = train(system, parts, QUICK if settings["quick"] else FULL, settings["seed"])
    effective, in_use = experts_in_use(course.mixture, parts["train"])
    return {
        "curve": [round(value, 6) for value in course.curve],
        "falls": course.falls,
        "stopped_at": course.stopped_at,
        "test": measure(course.best, parts["test"])[0],
        "test_end": measure(course.mixture, parts["test"])[0],
        "dev": course.best_dev,
        "dev_end": measure(course.mixture, parts["dev"])[1],
        "train_likelihood": measure(course.mixture, parts["train"])[1],
        "effective": effective,
        "in_use": in_use,
        "pruned": pruned(course.mixture, parts) if settings["system"] in PRUNED else [],
    }
