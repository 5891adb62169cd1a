"""Ten vowels of speakers not heard in training: a mixture of linear experts, nets and trees."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.mixture.trees.em import em_step
from phoneme_moe.mixture.trees.hierarchy import HierarchicalMixture, balanced_tree
from phoneme_moe.reproductions.ensembles.cost import Cost, all_asked, one_asked
from phoneme_moe.reproductions.ensembles.tokens_task import vote
from phoneme_moe.reproductions.ensembles.trees import available
from phoneme_moe.reproductions.perceptrons import Perceptron
from phoneme_moe.reproductions.peterson_barney import VOWELS
from phoneme_moe.reproductions.vowels import Tokens, divide

FEATURES = "F0-F3"
EXPERTS = 8
PRIOR = 0.1
WIDE, NARROW = 29, 5
"""Hidden units of a dense net of the mixture's total size, and of one of its active size."""

NETS = 5
"""Independently trained nets of the active size, as many parameters together as the mixture."""

CHECK = 10
"""Steps between looks at the dev tokens."""


def compare(steps: int, seed: int, hurried: bool = False) -> dict[str, dict[str, float]]:
    """Trains all systems on the same speakers; dev speakers stop mixture and nets.

    Args:
        steps: Of gradient descent on all tokens; EM has a tenth of it.
        seed: Of the division of speakers, of weights and trees.
        hurried: Whether few trees will do.

    Returns:
        By system: ``error`` in per cent, and its cost.
    """
    parts = divide(seed, FEATURES)
    train, test = parts["train"], parts["test"]
    found: dict[str, dict[str, float]] = {}

    def enter(name: str, said: Tensor, cost: Cost) -> None:
        wrong = said.argmax(dim=-1) != test.vowel
        found[name] = {"error": 100 * float(wrong.double().mean()), **cost.plain()}

    mixture = train_mixture(parts, max(1, steps // 10), seed)
    with torch.no_grad():
        log_weights, answers = mixture(test.inputs)  # (C, L), (C, L, K)
    gate, expert = (
        all_asked(count, count) for count in (mixture.gates.numel(), mixture.experts[0].numel())
    )
    blended = torch.logsumexp(log_weights[..., None] + answers, dim=1)
    enter("mixture, all experts asked", blended, gate + expert * EXPERTS)
    strongest = log_weights.argmax(dim=-1)[:, None, None]
    said = answers.take_along_dim(strongest, dim=1)[:, 0]
    enter("mixture, strongest expert only", said, one_asked(gate, expert, EXPERTS))

    for width, name in ((WIDE, "dense net, same total size"), (NARROW, "dense net, active size")):
        enter(name, train_nets(1, width, parts, steps, seed)[0], net_cost(width))
    several = train_nets(NETS, NARROW, parts, steps, seed)
    cost = net_cost(NARROW) * NETS
    enter("average of independent nets", several.exp().mean(dim=0), cost)
    enter("majority vote of the same nets", vote(several), cost)

    seen = train.inputs.numpy(), train.vowel.numpy(), test.inputs.numpy()
    for name, fit_trees in available(hurried).items():
        probabilities, cost = fit_trees(*seen, seed)
        enter(name, torch.from_numpy(probabilities), cost)
    return found


def train_mixture(parts: Mapping[str, Tokens], iterations: int, seed: int) -> HierarchicalMixture:
    """A mixture of one level by EM, as it was when dev tokens were likeliest."""
    torch.manual_seed(seed)
    own, dev = parts["train"], parts["dev"]
    paths = balanced_tree((EXPERTS,))
    mixture = HierarchicalMixture(own.inputs.shape[1], len(VOWELS), paths).double()
    best, best_likelihood = mixture, -float("inf")
    for _ in range(iterations):
        em_step(mixture, own.inputs, own.vowel, PRIOR)
        with torch.no_grad():
            likelihood = float(mixture.log_likelihood(dev.inputs, dev.vowel).mean())
        if likelihood > best_likelihood:
            best, best_likelihood = copy.deepcopy(mixture), likelihood
    return best


def net_cost(hidden: int) -> Cost:
    """Of a net with one hidden layer, biases counted as connections."""
    size = (4 + 1) * hidden + (hidden + 1) * len(VOWELS)
    return all_asked(size, size)


def train_nets(
    count: int, hidden: int, parts: Mapping[str, Tokens], steps: int, seed: int
) -> Tensor:
    """Nets side by side, each as it was when dev tokens were likeliest to it.

    Returns:
        Log posteriors of the test tokens, shape (nets, tokens, vowels).
    """
    torch.manual_seed(seed)
    inputs = {name: part.inputs.float() for name, part in parts.items()}
    nets = Perceptron(count, (inputs["train"].shape[1], hidden, len(VOWELS)))
    optimizer = torch.optim.Adam(nets.parameters(), lr=0.02)

    def log_likelihood(part: str) -> Tensor:
        said = functional.log_softmax(nets(inputs[part]), dim=-1)
        vowel = parts[part].vowel.expand(count, -1)[..., None]
        found: Tensor = said.take_along_dim(vowel, dim=-1).mean(dim=(1, 2))
        return found

    best = torch.full((count,), -float("inf"))
    answers = torch.zeros(count, len(inputs["test"]), len(VOWELS))
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(-log_likelihood("train").sum())
        optimizer.step()
        if step % CHECK == CHECK - 1:
            with torch.no_grad():
                now = log_likelihood("dev")
                said = functional.log_softmax(nets(inputs["test"]), dim=-1)
            better = now > best
            best = torch.where(better, now, best)
            answers = torch.where(better[:, None, None], said, answers)
    return answers
