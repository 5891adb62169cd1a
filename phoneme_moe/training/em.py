"""EM as a training stage: linear experts behind a linear gate (Jordan & Jacobs 1994).

Such a recognizer is a tree of one level (``mixture.trees.hierarchy``). Its weights are copied to
that tree in float64; each epoch is one EM step on all tokens, after which they are copied back. EM
is deterministic, so an interrupted stage is simply repeated.

Legend: C cases (tokens), F inputs, E experts, P classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.time_delay import ExpertLinear
from phoneme_moe.mixture.trees.em import em_step
from phoneme_moe.mixture.trees.hierarchy import HierarchicalMixture, balanced_tree
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Stage

LARGEST_BYTES = 4 << 30
"""Memory limit of the outer products of the inputs of all tokens."""


def em_epochs(
    recognizer: Recognizer, stage: Stage, train: Sequence[Example], dev: Sequence[Example]
) -> Iterator[dict[str, float]]:
    """Trains a recognizer in place, one EM step per epoch.

    Args:
        recognizer: A token classifier with linear experts and a linear softmax gate.
        stage: The stage, with the number of epochs and the precision of the prior
            (``weight_decay``).
        train: Training tokens.
        dev: Tokens for evaluation after each epoch.

    Yields:
        Metrics of each epoch: ``dev_error``; ``loss`` before the step in nats per token; and the
        ``load/`` of each expert after it. The loss excludes the prior, so it can rise only because
        of the prior.

    Raises:
        InputError: The outer products of the inputs would exceed the memory limit.
    """
    batch = collate(train, recognizer, {}).to(recognizer.device)
    network, gate = _linear_parts(recognizer)
    inputs = network.seen(batch.features[None])[0, :, 0].double()  # (C, F)
    num_cases, num_inputs = inputs.shape
    num_bytes = 8 * num_cases * (num_inputs + 1) ** 2
    if num_bytes > LARGEST_BYTES:
        raise InputError(
            f"training.stages.{stage.name}: optimizer: em on {num_cases} tokens of {num_inputs} "
            f"features needs {num_bytes / 2**30:.1f} GiB, expected at most "
            f"{LARGEST_BYTES / 2**30:.0f} GiB; use fewer mel bands, a longer hop or "
            "corpus.max_utterances"
        )
    classes = batch.targets[:, 0]
    mixture = as_tree(recognizer)
    for _ in range(stage.epochs):
        log_likelihood = em_step(mixture, inputs, classes, stage.weight_decay)
        _copy_back(mixture.experts, _layer(network))
        _copy_back(mixture.gates, _layer(gate))
        load = mixture.log_leaf_weights(inputs).detach().exp().mean(dim=0).tolist()
        yield {
            "dev_error": _error_rate(recognizer, dev),
            "loss": -log_likelihood,
            **{f"load/{n}": w for n, w in zip(recognizer.expert_names, load, strict=True)},
        }


def as_tree(recognizer: Recognizer) -> HierarchicalMixture:
    """Converts a recognizer to a tree with one gate, in float64.

    Args:
        recognizer: A model with linear experts and a linear softmax gate.
    """
    network, gate = _linear_parts(recognizer)
    experts, gates = _with_bias(_layer(network)), _with_bias(_layer(gate))
    num_experts, num_rows, num_classes = experts.shape
    tree = HierarchicalMixture(num_rows - 1, num_classes, balanced_tree([num_experts])).to(experts)
    with torch.no_grad():
        tree.experts.copy_(experts)
        tree.gates.copy_(gates)
    return tree


def _linear_parts(recognizer: Recognizer) -> tuple[FeedForward, FeedForward]:
    """Experts and gate, which are linear as checked by ``recipe.cross_checks``."""
    assert recognizer.experts is not None
    assert recognizer.gate is not None
    network, gate = recognizer.experts.network, recognizer.gate.network
    assert isinstance(network, FeedForward)
    assert isinstance(gate, FeedForward)
    return network, gate


def _layer(network: FeedForward) -> ExpertLinear:
    (layer,) = network.layers
    assert isinstance(layer, ExpertLinear)
    return layer


def _with_bias(layer: ExpertLinear) -> Tensor:
    """Weights with the bias as the last row, shape (copies, inputs + 1, outputs)."""
    return torch.cat([layer.weight, layer.bias], dim=1).detach().double()


@torch.no_grad()
def _copy_back(weights: Tensor, layer: ExpertLinear) -> None:
    layer.weight.copy_(weights[:, :-1])
    layer.bias.copy_(weights[:, -1:])


def _error_rate(recognizer: Recognizer, examples: Sequence[Example]) -> float:
    """Fraction of tokens that are misclassified."""
    wrong = sum(
        int((recognition.log_posteriors[:, 0].argmax(dim=-1).cpu() != batch.targets[:, 0]).sum())
        for batch, recognition in recognize_examples(recognizer, examples)
    )
    return wrong / len(examples)
