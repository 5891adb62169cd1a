"""Balancing of sparse layers over two processes is that of one process with all frames."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from gloo_ranks import RANKS, on_two_ranks
from torch import Tensor, distributed

from phoneme_moe.mixture.sparse.balance import SelectionBias
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, over_all_ranks
from phoneme_moe.mixture.sparse.routers import Router, TokenChoice
from phoneme_moe.mixture.sparse.scores import LinearScores
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice
from phoneme_moe.system.ranks import global_mean, stepping_together

EXPERTS, FEATURES = 6, 8
#: Frames of the utterances of each process: other numbers, in other lengths.
LENGTHS = ((5, 9, 2), (12,))


def layers() -> list[SparseFeedForward]:
    """Layers with every balancing loss, the second without that of scores, the third a tree."""
    torch.manual_seed(0)
    routers: list[tuple[Router, BalanceWeights]] = [
        (
            TokenChoice(LinearScores(FEATURES, EXPERTS), 2, weighting="before"),
            BalanceWeights(switch=0.3, importance=0.2, z=0.1),
        ),
        (
            TokenChoice(
                LinearScores(FEATURES, EXPERTS),
                3,
                score="sigmoid",
                bias=SelectionBias(EXPERTS, 0.1, every=2),
            ),
            BalanceWeights(switch=1.0),
        ),
        (TreeChoice(FEATURES, [3, 2], 2), BalanceWeights(switch=0.5)),
        (TokenChoice(LinearScores(FEATURES, EXPERTS), 1), BalanceWeights()),
    ]
    return [
        SparseFeedForward(
            ExpertFeedForward(EXPERTS, FEATURES, 4), router, balance=balance, name=str(number)
        ).double()
        for number, (router, balance) in enumerate(routers)
    ]


def batch_of(lengths: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(lengths), max(lengths), FEATURES, generator=generator)
    return frames.double(), torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The batch of all processes: its real frames as one utterance."""
    frames = torch.cat([frames[mask] for frames, mask in parts])[None]
    return frames, torch.ones(frames.shape[:2], dtype=torch.bool)


def route(of: list[SparseFeedForward], frames: Tensor, mask: Tensor) -> list[LayerRouting]:
    routings = [layer(frames, mask)[1] for layer in of]
    for layer, routing in zip(of, routings, strict=True):
        layer.update_bias(routing.counts)
    return routings


def gradients(of: list[SparseFeedForward], loss: Tensor) -> list[Tensor]:
    weights = [p for layer in of for p in layer.router.parameters()]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(weights, found, strict=True)]


def compare(rank: int) -> None:
    own, whole = layers(), layers()
    for step in range(4):
        parts = [batch_of(lengths, 10 * step + r) for r, lengths in enumerate(LENGTHS)]
        expected = sum((r.loss for r in route(whole, *joined(parts))), torch.zeros(()))
        with stepping_together():
            loss = sum((r.loss for r in over_all_ranks(route(own, *parts[rank]))), torch.zeros(()))
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)
        for one, other in zip(gradients(own, loss), gradients(whole, expected), strict=True):
            distributed.all_reduce(one)  # their mean, as DistributedDataParallel takes it
            # Routers compute in float32.
            torch.testing.assert_close(one / RANKS, other, rtol=0, atol=1e-6)
    for layer, other in zip(own, whole, strict=True):
        if layer.bias is not None and other.bias is not None:
            assert other.bias.bias.any()
            assert torch.equal(layer.bias.bias, other.bias.bias)


def count_messages(rank: int) -> None:
    own, batch = layers(), batch_of(LENGTHS[rank], rank)
    send = distributed.all_reduce
    messages = []

    def counted(tensor: Tensor, *more: Any, **settings: Any) -> Any:
        messages.append(tensor)
        return send(tensor, *more, **settings)

    with mock.patch.object(distributed, "all_reduce", counted), stepping_together():
        routings = [layer(*batch)[1] for layer in own]
        assert not messages
        over_all_ranks(routings)
    assert len(messages) == 1


def mean_with_none_on_one_rank(rank: int) -> None:
    rows = torch.arange(6.0).reshape(3, 2) if rank else torch.empty(0, 2)
    with stepping_together():
        assert global_mean(rows).tolist() == [2.0, 3.0]


def all_of_it(rank: int) -> None:
    compare(rank)
    count_messages(rank)
    mean_with_none_on_one_rank(rank)


def test_two_processes_balance_as_one_in_one_message_a_step() -> None:
    on_two_ranks(all_of_it)
