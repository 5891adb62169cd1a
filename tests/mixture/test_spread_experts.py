"""Experts spread over two processes compute what experts in one process compute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gloo_ranks import RANKS, on_two_ranks
from torch import Tensor

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.spread_experts import SpreadExperts

EXPERTS, FEATURES, HIDDEN = 6, 5, 7


def case(seed: int) -> list[tuple[Tensor, Assignment]]:
    """Tokens of every rank and their experts; any number of each, also none."""
    generator = torch.Generator().manual_seed(seed)
    allowed = {0: EXPERTS, 1: 1, 2: 3}.get(seed % 5, EXPERTS)  # of 1: one has all frames
    parts = []
    for rank in range(RANKS):
        num_tokens = 0 if seed % 7 == 3 and rank == 0 else 1 + seed % 9
        top_k = 1 + int(torch.randint(min(3, allowed), (1,), generator=generator))
        scores = torch.rand(num_tokens, allowed, generator=generator)
        expert = scores.topk(top_k).indices.flatten()
        token = torch.arange(num_tokens).repeat_interleave(top_k)
        kept = torch.rand(len(token), generator=generator) < (1 if seed % 4 else 0.5)
        weight = torch.rand(int(kept.sum()), generator=generator, dtype=torch.float64)
        tokens = torch.randn(num_tokens, FEATURES, generator=generator, dtype=torch.float64)
        parts.append((tokens, Assignment(token[kept], expert[kept], weight)))
    return parts


def whole_experts() -> ExpertFeedForward:
    torch.manual_seed(0)
    return ExpertFeedForward(EXPERTS, FEATURES, HIDDEN, "silu").double()


def gradients(
    experts: ExpertFeedForward, tokens: Tensor, assignment: Assignment
) -> tuple[Tensor, ...]:
    """The output, and the gradients of its weighted sum: of tokens, weights and experts."""
    tokens = tokens.clone().requires_grad_()
    weight = assignment.weight.clone().requires_grad_()
    output = experts(tokens, Assignment(assignment.token, assignment.expert, weight))
    experts.zero_grad()
    (output * torch.arange(1.0, FEATURES + 1)).sum().backward()
    of_experts = [p.grad.clone() for p in experts.parameters() if p.grad is not None]
    assert tokens.grad is not None
    assert weight.grad is not None
    return output.detach(), tokens.grad, weight.grad, *of_experts


def compare(seed: int, rank: int) -> None:
    """Compares this rank's results with those of one process that has all tokens."""
    parts = case(seed)
    first = torch.tensor([len(tokens) for tokens, _ in parts]).cumsum(0).roll(1)
    first[0] = 0
    everything = Assignment(
        torch.cat([a.token + start for (_, a), start in zip(parts, first, strict=True)]),
        torch.cat([a.expert for _, a in parts]),
        torch.cat([a.weight for _, a in parts]),
    )
    expected = gradients(whole_experts(), torch.cat([tokens for tokens, _ in parts]), everything)
    found = gradients(SpreadExperts(whole_experts()), *parts[rank])
    of_rank = slice(int(first[rank]), int(first[rank]) + len(parts[rank][0]))
    before = sum(len(a.weight) for _, a in parts[:rank])
    of_weights = slice(before, before + len(parts[rank][1].weight))
    slices = [of_rank, of_rank, of_weights]
    for one, other, own in zip(found, expected, slices, strict=False):
        torch.testing.assert_close(one, other[own], rtol=0, atol=1e-6)
    for one, other in zip(found[3:], expected[3:], strict=True):
        # The mean over ranks, as of every gradient of processes that train together.
        torch.testing.assert_close(RANKS * one, other.chunk(RANKS)[rank], rtol=0, atol=1e-6)


def compare_all(rank: int) -> None:
    for seed in range(60):
        compare(seed, rank)


def check_state(rank: int) -> None:
    """The state is that of all experts, however they are spread, and all can be collected."""
    whole, spread = whole_experts(), SpreadExperts(whole_experts())
    assert sum(p.numel() for p in spread.parameters()) * RANKS == sum(
        p.numel() for p in whole.parameters()
    )
    for name, weight in whole.state_dict().items():
        assert torch.equal(spread.state_dict()[name], weight)
    other = {name: weight + 1 for name, weight in whole.state_dict().items()}
    spread.load_state_dict(other)
    collected = spread.whole()
    assert type(collected) is ExpertFeedForward
    for name, weight in collected.state_dict().items():
        assert torch.equal(weight, other[name].to(weight.dtype))


def refuse(rank: int) -> None:
    with pytest.raises(InputError, match="found 5 experts to spread over 2 processes"):
        SpreadExperts(ExpertFeedForward(5, FEATURES, HIDDEN))


@pytest.mark.parametrize("work", [compare_all, check_state, refuse])
def test_two_processes(work: Callable[[int], None]) -> None:
    on_two_ranks(work)
