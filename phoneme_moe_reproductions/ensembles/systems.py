"""All systems on both tasks: /b d g/ of six announcers, and ten vowels of unseen speakers.

Legend: K modules, O objectives, N tokens, P phonemes; C cases, L leaves, V vowels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.mixture.trees.em import em_step
from phoneme_moe.mixture.trees.hierarchy import HierarchicalMixture, balanced_tree
from phoneme_moe.training.minibatch import Schedule
from phoneme_moe_reproductions import multi_speaker, vowels
from phoneme_moe_reproductions.ensembles.trees import Cost, dense_cost, top1_cost, tree_systems
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe_reproductions.multi_speaker import OBJECTIVES, arbitrate, one_group, outputs_of
from phoneme_moe_reproductions.perceptrons import Perceptron
from phoneme_moe_reproductions.tokens import Tokens, load_tokens

EPOCHS, QUICK_EPOCHS = 120, 1
STEPS, QUICK_STEPS = 2000, 100

MIXTURE, TOP1 = "mixture, all experts asked", "mixture, strongest expert only"
TOTAL_SIZE, ACTIVE_SIZE = "dense net, same total size", "dense net, active size"
AVERAGE, VOTE = "average of independent nets", "majority vote of the same nets"
"""Names of systems in results; ``findings.LABELS`` has those for people."""

TDNN_WIDTHS = {TOTAL_SIZE: 62, ACTIVE_SIZE: 22}
"""First-layer units of a dense net with as many connections as all modules and the gate, and of one
with as many as the gate and one module."""

TDNN_NETS = 8
"""Independently trained Multiple TDNNs with as many connections as all modules and the gate."""

VOWEL_FEATURES = "F0-F3"
VOWEL_EXPERTS = 8
VOWEL_PRIOR = 0.1
VOWEL_WIDTHS = {TOTAL_SIZE: 29, ACTIVE_SIZE: 5}
"""Hidden units of a dense net of the mixture's total size, and of one of its active size."""

VOWEL_NETS = 5
"""Independently trained nets of the active size, as many parameters together as the mixture."""

CHECK_EVERY = 10
"""Steps between evaluations on the dev tokens."""

Systems = dict[str, dict[str, float]]
"""By system: ``error`` in per cent, and its cost."""


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each task and seed."""
    lengths = {"tokens": EPOCHS, "vowels": STEPS}
    extra: dict[str, Any] = {}
    if quick:
        lengths, extra = {"tokens": QUICK_EPOCHS, "vowels": QUICK_STEPS}, {"hurried": True}
    return [
        Job(f"{task}_seed_{seed}", {"task": task, "seed": seed, "length": length, **extra})
        for seed in range(seeds)
        for task, length in lengths.items()
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All systems of a task once: error in per cent and cost, by system."""
    length, seed, quick = settings["length"], settings["seed"], settings.get("hurried", False)
    if settings["task"] == "vowels":
        return compare_on_vowels(length, seed, quick)
    train, test = (load_tokens("announcers", split) for split in ("train", "test"))
    return compare_on_tokens(train, test, length, seed, quick)


def cost_of(network: TokenTDNN) -> Cost:
    """Of one of the nets that a network holds."""
    return dense_cost(network.num_weights, network.num_connections)


def compare_on_tokens(
    train: Tokens, test: Tokens, epochs: int, seed: int, quick: bool = False
) -> Systems:
    """Trains Meta-Pi and its rivals on the same tokens; every net is a Multiple TDNN.

    Args:
        train: For training.
        test: For the error.
        epochs: Of every training of nets.
        seed: Of initial weights, order and trees.
        quick: With few trees.
    """
    together = Schedule(epochs, batch_size=64)
    systems: Systems = {}

    def add(name: str, scores: Tensor, cost: Cost) -> None:
        wrong = scores.argmax(dim=-1) != test.phoneme
        systems[name] = {"error": 100 * float(wrong.float().mean()), **cost.plain()}

    modules = multi_speaker.train_nets(
        train, multi_speaker.by_speaker(train), Schedule(epochs), seed
    )
    gate = train_meta_pi(train, outputs_of(modules, train.features), together, seed)
    outputs = outputs_of(modules, test.features)  # (K, O, N, P)
    weights = gate_weights(gate, test.features)[0]  # (O, N, K)
    speakers = len(outputs)
    module_cost, gate_cost = (cost_of(nets) * len(OBJECTIVES) for nets in (modules, gate))
    add(MIXTURE, arbitrate(blend(weights, outputs), 0), module_cost * speakers + gate_cost)
    top1 = functional.one_hot(weights.argmax(dim=-1), speakers).float()
    top1_scores = arbitrate(blend(top1, outputs), 0)
    add(TOP1, top1_scores, top1_cost(gate_cost, module_cost, speakers))

    for name, width in TDNN_WIDTHS.items():
        dense = multi_speaker.train_nets(train, one_group(train), together, seed, width=width)
        scores = arbitrate(outputs_of(dense, test.features)[0], 0)
        add(name, scores, cost_of(dense) * len(OBJECTIVES))

    nets = multi_speaker.train_nets(train, one_group(train) * TDNN_NETS, together, seed)
    outputs = outputs_of(nets, test.features).flatten(0, 1)  # (TDNN_NETS * O, N, P)
    cost = cost_of(nets) * len(outputs)
    add(AVERAGE, arbitrate(outputs, 0), cost)
    add(VOTE, vote(outputs), cost)

    flat_train, flat_test = (part.features.flatten(1).numpy() for part in (train, test))
    for name, fit_trees in tree_systems(quick).items():
        probabilities, cost = fit_trees(flat_train, train.phoneme.numpy(), flat_test, seed)
        add(name, torch.from_numpy(probabilities), cost)
    return systems


def vote(scores: Tensor) -> Tensor:
    """Share of the votes for each class; each net has one, and the first class wins a tie.

    Args:
        scores: Shape (nets, cases, classes).

    Returns:
        Shape (cases, classes).
    """
    votes = functional.one_hot(scores.argmax(dim=-1), scores.shape[-1])
    return votes.float().mean(dim=0)


def compare_on_vowels(steps: int, seed: int, quick: bool = False) -> Systems:
    """Trains all systems on the same speakers; early stopping of mixture and nets on dev speakers.

    Args:
        steps: Of gradient descent on all tokens; EM has a tenth of it.
        seed: Of the division of speakers, of weights and trees.
        quick: With few trees.
    """
    parts = vowels.divide(seed, VOWEL_FEATURES)
    train, test = parts["train"], parts["test"]
    systems: Systems = {}

    def add(name: str, scores: Tensor, cost: Cost) -> None:
        wrong = scores.argmax(dim=-1) != test.vowel
        systems[name] = {"error": 100 * float(wrong.double().mean()), **cost.plain()}

    mixture = train_mixture(parts, max(1, steps // 10), seed)
    with torch.no_grad():
        log_weights, log_posteriors = mixture(test.inputs)  # (C, L), (C, L, V)
    gate, expert = (
        dense_cost(count, count) for count in (mixture.gates.numel(), mixture.experts[0].numel())
    )
    blended = torch.logsumexp(log_weights[..., None] + log_posteriors, dim=1)
    add(MIXTURE, blended, gate + expert * VOWEL_EXPERTS)
    top1 = log_weights.argmax(dim=-1)[:, None, None]
    top1_scores = log_posteriors.take_along_dim(top1, dim=1)[:, 0]
    add(TOP1, top1_scores, top1_cost(gate, expert, VOWEL_EXPERTS))

    for name, width in VOWEL_WIDTHS.items():
        add(name, train_vowel_nets(1, width, parts, steps, seed)[0], _vowel_net_cost(width))
    width = VOWEL_WIDTHS[ACTIVE_SIZE]
    log_posteriors = train_vowel_nets(VOWEL_NETS, width, parts, steps, seed)
    cost = _vowel_net_cost(width) * VOWEL_NETS
    add(AVERAGE, log_posteriors.exp().mean(dim=0), cost)
    add(VOTE, vote(log_posteriors), cost)

    arrays = train.inputs.numpy(), train.vowel.numpy(), test.inputs.numpy()
    for name, fit_trees in tree_systems(quick).items():
        probabilities, cost = fit_trees(*arrays, seed)
        add(name, torch.from_numpy(probabilities), cost)
    return systems


def train_mixture(
    parts: Mapping[str, vowels.Tokens], iterations: int, seed: int
) -> HierarchicalMixture:
    """A mixture of one level by EM, stopped where the dev likelihood is largest."""
    torch.manual_seed(seed)
    train, dev = parts["train"], parts["dev"]
    paths = balanced_tree((VOWEL_EXPERTS,))
    mixture = HierarchicalMixture(train.inputs.shape[1], len(vowels.VOWELS), paths).double()
    best, best_likelihood = mixture, -float("inf")
    for _ in range(iterations):
        em_step(mixture, train.inputs, train.vowel, VOWEL_PRIOR)
        with torch.no_grad():
            likelihood = float(mixture.log_likelihood(dev.inputs, dev.vowel).mean())
        if likelihood > best_likelihood:
            best, best_likelihood = copy.deepcopy(mixture), likelihood
    return best


def _vowel_net_cost(hidden: int) -> Cost:
    """Of a net with one hidden layer, biases counted as connections."""
    size = (4 + 1) * hidden + (hidden + 1) * len(vowels.VOWELS)
    return dense_cost(size, size)


def train_vowel_nets(
    count: int, hidden: int, parts: Mapping[str, vowels.Tokens], steps: int, seed: int
) -> Tensor:
    """Trains nets side by side, each stopped where its dev likelihood is largest.

    Returns:
        Log posteriors of the test tokens, shape (nets, tokens, vowels).
    """
    torch.manual_seed(seed)
    inputs = {name: part.inputs.float() for name, part in parts.items()}
    nets = Perceptron(count, (inputs["train"].shape[1], hidden, len(vowels.VOWELS)))
    optimizer = torch.optim.Adam(nets.parameters(), lr=0.02)

    def log_likelihood(part: str) -> Tensor:
        log_posteriors = functional.log_softmax(nets(inputs[part]), dim=-1)
        vowel = parts[part].vowel.expand(count, -1)[..., None]
        by_net: Tensor = log_posteriors.take_along_dim(vowel, dim=-1).mean(dim=(1, 2))
        return by_net

    best = torch.full((count,), -float("inf"))
    best_scores = torch.zeros(count, len(inputs["test"]), len(vowels.VOWELS))
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(-log_likelihood("train").sum())
        optimizer.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            with torch.no_grad():
                likelihood = log_likelihood("dev")
                scores = functional.log_softmax(nets(inputs["test"]), dim=-1)
            better = likelihood > best
            best = torch.where(better, likelihood, best)
            best_scores = torch.where(better[:, None, None], scores, best_scores)
    return best_scores
