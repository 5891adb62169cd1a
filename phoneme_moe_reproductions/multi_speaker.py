"""Nets of Hampshire & Waibel (1989-1992) on tokens: multi-speaker, single-speaker, and joined.

A module is a "Multiple TDNN": nets of one shape, one for each objective of ``OBJECTIVES``, whose
outputs are arbitrated. Everything here holds all modules' nets in one batched network.

Legend: K speakers (modules), O objectives, N tokens, P phonemes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe.training.token_objectives import NET_OBJECTIVES
from phoneme_moe_reproductions.tdnn_variants import FrequencyShiftTDNN, ModularTDNN
from phoneme_moe_reproductions.tokens import Tokens

JITTER = 0.1
"""Standard deviation of noise added to the features, drawn anew for every batch. Without it modules
overfit their 250 tokens of each phoneme."""

OBJECTIVES = tuple(NET_OBJECTIVES)


def noisy_features(tokens: Tokens, indices: Tensor) -> Tensor:
    """Features of a training batch, with noise of standard deviation ``JITTER``.

    Args:
        tokens: To choose from.
        indices: Of tokens, shape (groups, batch).

    Returns:
        Shape (groups, batch, frames, bands).
    """
    features = tokens.features[indices]
    return features + JITTER * torch.randn_like(features)


def sum_of_objectives(outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Tensor:
    """Sum over nets of the mean error by each net's objective.

    Args:
        outputs: Shape (groups, objectives, batch, classes).
        targets: Ones and zeros, shape (groups, batch, classes).
        names: Of the objectives, keys of ``NET_OBJECTIVES``.
    """
    errors = [NET_OBJECTIVES[name](outputs[:, i], targets) for i, name in enumerate(names)]
    return torch.stack(errors).mean(dim=-1).sum()


def arbitrate(outputs: Tensor, dim: int) -> Tensor:
    """Normalised sum: the mean of the nets' outputs, each scaled to sum to 1.

    Args:
        outputs: 0 or more, classes in the last dimension.
        dim: The dimension of the nets, which is reduced.
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
    """1 for the token's phoneme, 0 for others; shape (tokens, phonemes)."""
    return functional.one_hot(tokens.phoneme, len(tokens.phonemes)).float()


def train_nets(
    tokens: Tokens,
    groups: Sequence[Tensor],
    schedule: Schedule,
    seed: int,
    names: Sequence[str] = OBJECTIVES,
    plies: int = 0,
    width: int = 8,
) -> TokenTDNN:
    """Trains a net for each group and objective, all at once.

    Args:
        tokens: For training.
        groups: Training tokens of each net: one group for a pooled net, one for each speaker for
            modules.
        schedule: Epochs, learning rate and batch size.
        seed: Of initial weights and order.
        names: Objectives.
        plies: Of a frequency-shift TDNN; 0 for the plain TDNN.
        width: Units of the plain TDNN's first hidden layer; 8 in 1989.

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
        else TokenTDNN(count, bands, frames, classes, (width, classes))
    )
    centre_outputs(network)
    targets = class_targets(tokens)

    def loss(indices: Tensor) -> Tensor:
        features = noisy_features(tokens, indices)  # (groups, batch, frames, bands)
        if len(groups) > 1:
            features = features.repeat_interleave(len(names), dim=0)
        outputs = torch.sigmoid(network(features, None)[:, :, 0])
        outputs = outputs.view(len(groups), len(names), *outputs.shape[1:])
        return sum_of_objectives(outputs, targets[indices], names)

    fit(network.parameters(), groups, loss, schedule, seed)
    return network


@torch.no_grad()
def outputs_of(network: TokenTDNN, features: Tensor, names: Sequence[str] = OBJECTIVES) -> Tensor:
    """Outputs of every net, 0..1, shape (groups, objectives, tokens, classes)."""
    outputs = torch.sigmoid(network(features[None], None)[:, :, 0])
    return outputs.view(-1, len(names), *outputs.shape[1:])


@torch.no_grad()
def centre_outputs(network: TokenTDNN) -> TokenTDNN:
    """Sets output biases so that the sigmoid outputs of a fresh net begin near 0.5.

    A sum over nine positions of units near 0.5 begins at 4.5, where a sigmoid is flat:
    cross-entropy made 18 % errors in 40 epochs from there, and 4 % from here.
    """
    if network.row_per_class:
        network.output_bias.fill_(-network.num_positions[1] / 2)
    return network


def train_modular(
    tokens: Tokens, modules: TokenTDNN, which: Sequence[int], schedule: Schedule, seed: int
) -> ModularTDNN:
    """Joins trained single-speaker nets and retrains the higher layers on all speakers.

    Args:
        tokens: Of all speakers.
        modules: Their nets.
        which: Index of the net of each speaker to build on.
        schedule: Epochs, learning rate and batch size.
        seed: Of the order.
    """
    torch.manual_seed(seed)
    joined = ModularTDNN(take(modules, which))
    targets = class_targets(tokens)

    def loss(indices: Tensor) -> Tensor:
        outputs = torch.sigmoid(joined(noisy_features(tokens, indices), None))
        return NET_OBJECTIVES["mse"](outputs, targets[indices[0]]).mean()

    fit(joined.higher_layers(), one_group(tokens), loss, schedule, seed)
    return joined
