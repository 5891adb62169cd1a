"""Gates over trained modules: trained by the phoneme error (Meta-Pi) or by speaker labels (SID).

A gate is a "Multiple TDNN" too: a net for each objective, over the modules' nets of that objective.
Many gates are trained side by side, each a group with its tokens and modules.

Legend: G groups, O objectives, N tokens, B of them in a batch, K modules, P phonemes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe_reproductions.multi_speaker import (
    OBJECTIVES,
    centre_outputs,
    class_targets,
    noisy_features,
    one_group,
    sum_of_objectives,
)
from phoneme_moe_reproductions.tokens import Tokens

GATE_HIDDEN = (12, 6)
"""Units of a gate's hidden layers: 10,998 connections, where the papers' sum leaves some 10,600."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: torch.softmax(scores, dim=-1),
    "sigmoid": torch.sigmoid,
}
"""From a gate's scores to weights: normalised over modules, or each module by itself."""


def new_gates(tokens: Tokens, num_modules: int, seed: int, num_groups: int = 1) -> TokenTDNN:
    """Fresh gates, a net for each group and objective inside."""
    torch.manual_seed(seed)
    _, frames, bands = tokens.features.shape
    copies = num_groups * len(OBJECTIVES)
    return centre_outputs(TokenTDNN(copies, bands, frames, num_modules, GATE_HIDDEN))


def scores_of(gates: TokenTDNN, features: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Scores of gates (logits).

    Args:
        gates: From ``new_gates``.
        features: Shape (groups or 1, tokens, frames, bands).
        allowed: Modules that each gate may use, shape (groups, modules); all when None.

    Returns:
        Shape (groups, objectives, tokens, modules); ``-inf`` for a module that is not allowed.
    """
    if len(features) > 1:
        features = features.repeat_interleave(len(OBJECTIVES), dim=0)
    scores = gates(features, None)[:, :, 0]
    scores = scores.view(-1, len(OBJECTIVES), *scores.shape[1:])
    if allowed is not None:
        scores = scores.masked_fill(~allowed[:, None, None], -torch.inf)
    masked: Tensor = scores
    return masked


def train_meta_pi(
    tokens: Tokens,
    module_outputs: Tensor,
    schedule: Schedule,
    seed: int,
    activation: str = "softmax",
    groups: Sequence[Tensor] | None = None,
    allowed: Tensor | None = None,
    start: TokenTDNN | None = None,
) -> TokenTDNN:
    """Trains gates by the phoneme error, without speaker labels (Meta-Pi).

    Each objective has a gate net and the modules' nets of that objective; its error is that of
    ``sum_k pi_k o_k``.

    Args:
        tokens: Of all speakers.
        module_outputs: Of the frozen modules on these tokens, shape (modules, objectives, tokens,
            classes); or, with the groups as a leading dimension, of different modules in each.
        schedule: Epochs, learning rate and batch size.
        seed: Of initial weights and order.
        activation: A name of ``ACTIVATIONS``.
        groups: Training tokens of each gate; one gate with all tokens when None.
        allowed: As in ``scores_of``.
        start: Gates to train further, changed in place; fresh ones when None.
    """
    groups = one_group(tokens) if groups is None else groups
    shared = module_outputs.dim() == 4
    gates = start or new_gates(tokens, module_outputs.shape[-4], seed, len(groups))
    targets = class_targets(tokens)

    def loss(indices: Tensor) -> Tensor:
        scores = scores_of(gates, noisy_features(tokens, indices), allowed)
        weights = ACTIVATIONS[activation](scores)
        if shared:
            outputs = module_outputs[:, :, indices]  # (K, O, G, B, P)
            mixed = torch.einsum("gobk,kogbp->gobp", weights, outputs)
        else:
            group = torch.arange(len(indices))[:, None]
            outputs = module_outputs.permute(0, 3, 1, 2, 4)[group, indices]  # (G, B, K, O, P)
            mixed = torch.einsum("gobk,gbkop->gobp", weights, outputs)
        return sum_of_objectives(mixed, targets[indices], OBJECTIVES)

    fit(gates.parameters(), groups, loss, schedule, seed)
    return gates


def train_speaker_gate(tokens: Tokens, schedule: Schedule, seed: int) -> TokenTDNN:
    """Trains a gate to identify the speaker (SID), by the same three objectives."""
    gate = new_gates(tokens, len(tokens.speakers), seed)
    targets = functional.one_hot(tokens.speaker, len(tokens.speakers)).float()

    def loss(indices: Tensor) -> Tensor:
        outputs = torch.sigmoid(scores_of(gate, noisy_features(tokens, indices)))
        return sum_of_objectives(outputs, targets[indices], OBJECTIVES)

    fit(gate.parameters(), one_group(tokens), loss, schedule, seed)
    return gate


@torch.no_grad()
def gate_weights(
    gates: TokenTDNN, features: Tensor, activation: str = "softmax", allowed: Tensor | None = None
) -> Tensor:
    """Weights that every gate gives the modules on the same tokens.

    Args:
        gates: Trained.
        features: Shape (tokens, frames, bands).
        activation: A name of ``ACTIVATIONS``.
        allowed: As in ``scores_of``.

    Returns:
        Shape (groups, objectives, tokens, modules).
    """
    return ACTIVATIONS[activation](scores_of(gates, features[None], allowed))


def blend(weights: Tensor, module_outputs: Tensor) -> Tensor:
    """``sum_k pi_k o_k`` for each objective (Meta-Pi, NIPS 2).

    Args:
        weights: Shape (..., objectives, tokens, modules).
        module_outputs: Shape (modules, objectives, tokens, classes).

    Returns:
        Shape (..., objectives, tokens, classes).
    """
    return torch.einsum("...onk,konp->...onp", weights, module_outputs)
