"""Six announcers, /b d g/: Meta-Pi beside nets and trees of its size.

Every net is a Multiple TDNN or several: all systems of nets are trained on the same objectives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.reproductions.ensembles.cost import Cost, all_asked, one_asked
from phoneme_moe.reproductions.ensembles.trees import available
from phoneme_moe.reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe.reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_nets,
)
from phoneme_moe.reproductions.tokens import Tokens
from phoneme_moe.training.minibatch import Schedule

WIDE = 62
"""First-layer units of a dense net with as many connections as all modules and the gate."""

NARROW = 22
"""Of one with as many as the gate and one module."""

NETS = 8
"""Independently trained Multiple TDNNs with as many connections as all modules and the gate."""


def cost_of(network: TokenTDNN) -> Cost:
    """Of one of the nets that a network holds."""
    return all_asked(network.num_weights, network.num_connections)


def compare(
    train: Tokens, test: Tokens, epochs: int, seed: int, hurried: bool = False
) -> dict[str, dict[str, float]]:
    """Trains all systems on the same tokens.

    Args:
        train: For training.
        test: For the error.
        epochs: Of every training of nets.
        seed: Of initial weights, order and trees.
        hurried: Whether few trees will do.

    Returns:
        By system: ``error`` in per cent, and its cost.
    """
    together = Schedule(epochs, batch_size=64)
    found: dict[str, dict[str, float]] = {}

    def enter(name: str, said: Tensor, cost: Cost) -> None:
        wrong = said.argmax(dim=-1) != test.phoneme
        found[name] = {"error": 100 * float(wrong.float().mean()), **cost.plain()}

    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    gate = train_meta_pi(train, outputs_of(modules, train.features), together, seed)
    said = outputs_of(modules, test.features)  # (K, O, N, P)
    weights = gate_weights(gate, test.features)[0]  # (O, N, K)
    speakers = len(said)
    module, gate_cost = (cost_of(nets) * len(OBJECTIVES) for nets in (modules, gate))
    everything = module * speakers + gate_cost
    enter("mixture, all experts asked", arbitrate(blend(weights, said), 0), everything)
    strongest = torch.nn.functional.one_hot(weights.argmax(dim=-1), speakers).float()
    cost = one_asked(gate_cost, module, speakers)
    enter("mixture, strongest expert only", arbitrate(blend(strongest, said), 0), cost)

    for width, name in ((WIDE, "dense net, same total size"), (NARROW, "dense net, active size")):
        dense = train_nets(train, one_group(train), together, seed, width=width)
        answer = arbitrate(outputs_of(dense, test.features)[0], 0)
        enter(name, answer, cost_of(dense) * len(OBJECTIVES))

    nets = train_nets(train, one_group(train) * NETS, together, seed)
    answers = outputs_of(nets, test.features).flatten(0, 1)  # (NETS * O, N, P)
    cost = cost_of(nets) * len(answers)
    enter("average of independent nets", arbitrate(answers, 0), cost)
    enter("majority vote of the same nets", vote(answers), cost)

    flat, others = (t.features.flatten(1).numpy() for t in (train, test))
    for name, fit_trees in available(hurried).items():
        probabilities, cost = fit_trees(flat, train.phoneme.numpy(), others, seed)
        enter(name, torch.from_numpy(probabilities), cost)
    return found


def vote(answers: Tensor) -> Tensor:
    """Share of the votes that each class gets; each net has one, and the first class wins a tie.

    Args:
        answers: Shape (nets, cases, classes).

    Returns:
        Shape (cases, classes).
    """
    votes = torch.nn.functional.one_hot(answers.argmax(dim=-1), answers.shape[-1])
    return votes.float().mean(dim=0)
