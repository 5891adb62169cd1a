"""The systems of Hampshire & Waibel (1989-1992), trained side by side on tokens.

A module is a "Multiple TDNN": nets of one shape, one for each objective of ``OBJECTIVES``, whose
outputs are arbitrated. Everything here holds all modules' nets in one batched network.

Legend: K speakers (modules), O objectives, N tokens, P phonemes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture.objectives import NET_OBJECTIVES
from phoneme_moe.mixture.token_networks import FrequencyShiftTDNN, TokenTDNN
from phoneme_moe.reproduce.tokens import Tokens

OBJECTIVES = tuple(NET_OBJECTIVES)
GATE_HIDDEN = (12, 6)
"""Units of a gate's hidden layers: 10,998 connections, where the papers' sum leaves some 10,600."""


@dataclass(frozen=True)
class Schedule:
    """How nets are trained (the papers do not say).

    Attributes:
        epochs: Passes over the tokens.
        learning_rate: At its peak; it climbs for a tenth of the steps and then falls to nothing.
        batch_size: Tokens of a step, of each group.
        weight_decay: Of AdamW.
    """

    epochs: int
    learning_rate: float = 0.01
    batch_size: int = 32
    weight_decay: float = 0.01


def shuffled(
    groups: Sequence[Tensor], batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """One pass over groups of tokens side by side, in a fresh order.

    Args:
        groups: Indices of the tokens of each group; smaller groups come round again.
        batch_size: Tokens of each group in a batch.
        generator: Draws the order.

    Yields:
        Indices, shape (groups, up to batch_size).
    """
    longest = max(len(group) for group in groups)
    orders = []
    for group in groups:
        order = group[torch.randperm(len(group), generator=generator)]
        orders.append(order.repeat(-(-longest // len(order)))[:longest])
    yield from torch.stack(orders).split(batch_size, dim=1)


def fit(
    parameters: Iterable[nn.Parameter],
    groups: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    schedule: Schedule,
    seed: int,
) -> None:
    """Minimises a loss over batches of tokens.

    Args:
        parameters: What is trained; AdamW treats each number alone, so nets side by side do not
            feel each other.
        groups: As in ``shuffled``.
        loss: Of a batch of indices, shape (groups, batch): a sum over the nets.
        schedule: How.
        seed: Draws the order of tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = schedule.epochs * -(-max(len(g) for g in groups) // schedule.batch_size)
    optimizer = torch.optim.AdamW(
        list(parameters), schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, steps, pct_start=0.1, cycle_momentum=False
    )
    for _ in range(schedule.epochs):
        for chosen in shuffled(groups, schedule.batch_size, generator):
            optimizer.zero_grad()
            loss(chosen).backward()
            optimizer.step()
            scheduler.step()


def sum_of_objectives(outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Tensor:
    """Each net's mean error by its own objective, summed.

    Args:
        outputs: Shape (groups, objectives, batch, classes).
        targets: Ones and zeros, shape (groups, batch, classes).
        names: Of the objectives, keys of ``NET_OBJECTIVES``.
    """
    errors = [NET_OBJECTIVES[name](outputs[:, i], targets) for i, name in enumerate(names)]
    return torch.stack(errors).mean(dim=-1).sum()


def arbitrate(outputs: Tensor, dim: int) -> Tensor:
    """Normalised sum: every net's outputs sum to 1, and so does what they say together.

    Args:
        outputs: 0 or more, classes in the last dimension.
        dim: The dimension of the nets, which goes.
    """
    shares = outputs / outputs.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return shares.mean(dim=dim)


def one_group(tokens: Tokens) -> list[Tensor]:
    """All tokens as one group."""
    return [torch.arange(len(tokens))]


def by_speaker(tokens: Tokens) -> list[Tensor]:
    """The tokens of each speaker as a group."""
    return [(tokens.speaker == k).nonzero()[:, 0] for k in range(len(tokens.speakers))]


def class_targets(tokens: Tokens) -> Tensor:
    """1 for the phoneme spoken, shape (tokens, phonemes)."""
    return functional.one_hot(tokens.phoneme, len(tokens.phonemes)).float()


def train_nets(
    tokens: Tokens,
    groups: Sequence[Tensor],
    schedule: Schedule,
    seed: int,
    names: Sequence[str] = OBJECTIVES,
    plies: int = 0,
) -> TokenTDNN:
    """Trains a net for each group and objective, all at once.

    Args:
        tokens: For training.
        groups: Whose tokens a net is shown; one group for a pooled net, one for each speaker for
            modules.
        schedule: How.
        seed: Of initial weights and order.
        names: Objectives.
        plies: Of a frequency-shift TDNN; 0 for the plain TDNN.

    Returns:
        Nets in the order of groups, objectives inside.
    """
    torch.manual_seed(seed)
    count = len(groups) * len(names)
    _, frames, bands = tokens.features.shape
    classes = len(tokens.phonemes)
    network = (
        FrequencyShiftTDNN(count, bands, frames, classes, plies)
        if plies
        else TokenTDNN(count, bands, frames, classes, (8, classes))
    )
    centre(network)
    targets = class_targets(tokens)

    def loss(chosen: Tensor) -> Tensor:
        shown = tokens.features[chosen]  # (groups, batch, frames, bands)
        if len(groups) > 1:
            shown = shown.repeat_interleave(len(names), dim=0)
        outputs = torch.sigmoid(network(shown, None)[:, :, 0])
        outputs = outputs.unflatten(0, (len(groups), len(names)))
        return sum_of_objectives(outputs, targets[chosen], names)

    fit(network.parameters(), groups, loss, schedule, seed)
    return network


@torch.no_grad()
def outputs_of(network: TokenTDNN, features: Tensor, names: Sequence[str] = OBJECTIVES) -> Tensor:
    """What every net says, 0..1, shape (groups, objectives, tokens, classes)."""
    said = torch.sigmoid(network(features[None], None)[:, :, 0])
    return said.unflatten(0, (-1, len(names)))


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: torch.softmax(scores, dim=-1),
    "sigmoid": torch.sigmoid,
}
"""Scores of a gate to weights: normalised, or each module's own."""


def new_gate(tokens: Tokens, num_modules: int, seed: int) -> TokenTDNN:
    """A fresh gate net for each objective."""
    torch.manual_seed(seed)
    _, frames, bands = tokens.features.shape
    return centre(TokenTDNN(len(OBJECTIVES), bands, frames, num_modules, GATE_HIDDEN))


@torch.no_grad()
def centre(network: TokenTDNN) -> TokenTDNN:
    """Lets the sigmoid outputs of a fresh net begin near 0.5.

    A sum over nine positions of units near 0.5 begins at 4.5, where a sigmoid is flat: cross-entropy
    made 18 % errors in 40 epochs from there, and 4 % from here.
    """
    if network.row_per_class:
        network.output_bias.fill_(-network.num_positions[1] / 2)
    return network


def train_meta_pi(
    tokens: Tokens,
    module_outputs: Tensor,
    schedule: Schedule,
    seed: int,
    activation: str = "softmax",
) -> TokenTDNN:
    """Trains a gate through the phoneme error, without a speaker label (Meta-Pi).

    Each objective has a gate net and the modules' nets of that objective; its error is that of
    ``sum_k pi_k o_k``.

    Args:
        tokens: Of all speakers.
        module_outputs: Of the frozen modules on these tokens, shape (modules, objectives, tokens,
            classes).
        schedule: How.
        seed: Of initial weights and order.
        activation: A name of ``GATES``.
    """
    gate = new_gate(tokens, len(module_outputs), seed)
    targets = class_targets(tokens)

    def loss(chosen: Tensor) -> Tensor:
        weights = GATES[activation](gate(tokens.features[chosen], None)[:, :, 0])  # (O, B, K)
        said = blend(weights, module_outputs[:, :, chosen[0]])  # (O, B, P)
        return sum_of_objectives(said[None], targets[chosen], OBJECTIVES)

    fit(gate.parameters(), one_group(tokens), loss, schedule, seed)
    return gate


def blend(weights: Tensor, module_outputs: Tensor) -> Tensor:
    """``sum_k pi_k o_k`` for each objective.

    Args:
        weights: Shape (objectives, tokens, modules).
        module_outputs: Shape (modules, objectives, tokens, classes).

    Returns:
        Shape (objectives, tokens, classes).
    """
    return torch.einsum("onk,konp->onp", weights, module_outputs)


@torch.no_grad()
def gate_weights(gate: TokenTDNN, features: Tensor, activation: str = "softmax") -> Tensor:
    """Weights of the modules, shape (objectives, tokens, modules)."""
    return GATES[activation](gate(features[None], None)[:, :, 0])


def train_speaker_gate(tokens: Tokens, schedule: Schedule, seed: int) -> TokenTDNN:
    """Trains a gate to tell speakers apart (SID), by the same three objectives."""
    gate = new_gate(tokens, len(tokens.speakers), seed)
    targets = functional.one_hot(tokens.speaker, len(tokens.speakers)).float()

    def loss(chosen: Tensor) -> Tensor:
        said = torch.sigmoid(gate(tokens.features[chosen], None)[:, :, 0])
        return sum_of_objectives(said[None], targets[chosen], OBJECTIVES)

    fit(gate.parameters(), one_group(tokens), loss, schedule, seed)
    return gate
