"""A first gate for experts that are copies of one: clusters of utterances.

Copies behind a gate with equal weights have equal gradients, and so stay copies. A gate that begins
with clusters of what it sees gives each expert utterances of its own to learn from (Gururangan et
al. 2023, *Scaling Expert Language Models with Unsupervised Domain Discovery*).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.cluster import KMeans
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.model.adapted_encoder import AdaptedEncoder

MAX_UTTERANCES = 512
LARGEST_WEIGHT = 0.9
"""Mean weight of the nearest cluster's expert."""


def separate_copies(adapted: AdaptedEncoder, inputs: Sequence[Tensor], seed: int) -> None:
    """Sets the gate of adapters to clusters of utterances, in place, if all experts are alike.

    Args:
        adapted: The encoder with its adapters and a gate.
        inputs: Inputs of the encoder for every utterance, shape (frames, inputs of a frame) each;
            clusters are formed of at most 512 of them.
        seed: Seed of the choice and of k-means.

    Raises:
        InputError: There are fewer utterances than experts.
    """
    assert adapted.gate is not None
    if not all(bool((weights == weights[:1]).all()) for weights in adapted.adapters.parameters()):
        return
    if len(inputs) < adapted.num_experts:
        raise InputError(
            f"model.adapters.num_experts: found {adapted.num_experts} for {len(inputs)} training "
            "utterances, expected an utterance for each expert at least"
        )
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(inputs))[:MAX_UTTERANCES]
    with torch.no_grad():
        means = [adapted.gate_inputs(inputs[i][None].float()) for i in chosen]
    set_gate(adapted.gate, torch.cat(means).double().cpu().numpy(), seed)


def set_gate(gate: nn.Linear, points: np.ndarray, seed: int) -> None:
    """Sets a linear gate to the clusters of points, in place.

    The weight of an expert falls with the squared distance to the centre of its cluster, at a
    temperature at which the nearest centre has 0.9 on average.

    Args:
        gate: The gate, with one output for each expert.
        points: Inputs of the gate, shape (points, inputs).
        seed: Seed of k-means++.
    """
    kmeans = KMeans(gate.out_features, n_init=10, random_state=seed).fit(points)
    centres = kmeans.cluster_centers_
    # -|x - c|^2 without |x|^2, which is the same for every centre.
    logits = 2 * points @ centres.T - (centres**2).sum(axis=1)

    def excess(log_scale: float) -> float:
        scaled = np.exp(log_scale) * (logits - logits.max(axis=1, keepdims=True))
        return float((1 / np.exp(scaled).sum(axis=1)).mean() - LARGEST_WEIGHT)

    scale = np.exp(brentq(excess, -30, 30))
    with torch.no_grad():
        gate.weight.copy_(torch.from_numpy(scale * 2 * centres))
        gate.bias.copy_(torch.from_numpy(-scale * (centres**2).sum(axis=1)))
