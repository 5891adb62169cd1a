from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phoneme_moe.mixture.sparse import expert_feed_forward as module
from phoneme_moe.mixture.sparse import expert_rows
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward, expert_feed_forward
from phoneme_moe.mixture.sparse.expert_rows import Assignment

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
}


def all_experts(tokens: Tensor, assignment: Assignment, *rest: Any) -> Tensor:
    """Every expert on every token, times a dense matrix of weights."""
    weight_in, bias_in, weight_out, bias_out, activation = rest
    dense = tokens.new_zeros(len(tokens), len(weight_in))
    place = assignment.token, assignment.expert
    dense = dense.index_put(place, assignment.weight, accumulate=True)
    hidden = ACTIVATIONS[activation](torch.einsum("nc,ech->neh", tokens, weight_in) + bias_in)
    outputs = torch.einsum("neh,ehc->nec", hidden, weight_out) + bias_out
    return torch.einsum("ne,nec->nc", dense, outputs)


def layer(num_experts: int, features: int = 8, hidden: int = 12, **kind: Any) -> list[Tensor]:
    shapes = (features, hidden), (hidden,), (hidden, features), (features,)
    return [torch.randn(num_experts, *shape, **kind) / features**0.5 for shape in shapes]


def route(num_tokens: int, loads: list[float], top_k: int, kept: float = 1.0) -> Assignment:
    """Draws ``top_k`` different experts for each token, the loads in proportion; drops some."""
    share = torch.tensor(loads)
    noise = -torch.empty(num_tokens, len(loads)).exponential_().log()
    experts = (share.log() + noise).topk(top_k, dim=1).indices
    token = torch.arange(num_tokens).repeat_interleave(top_k)
    some = torch.randperm(len(token))[: round(kept * len(token))]
    return Assignment(token[some], experts.flatten()[some], torch.randn(len(some)))


def with_gradients(
    compute: Callable[..., Tensor],
    tokens: Tensor,
    assignment: Assignment,
    parameters: list[Tensor],
    activation: str = "relu",
) -> list[Tensor]:
    """Output and the gradients of tokens, weights and parameters, for a mean over tokens."""
    leaves = [x.detach().clone().requires_grad_() for x in (tokens, assignment.weight, *parameters)]
    given_out = Assignment(assignment.token, assignment.expert, leaves[1])
    out = compute(leaves[0], given_out, *leaves[2:], activation)
    ahead = torch.linspace(-1, 1, out.numel()).reshape(out.shape) / max(len(out), 1)
    return [out.detach(), *torch.autograd.grad((out * ahead).sum(), leaves)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@given(
    num_tokens=st.integers(0, 40),
    loads=st.lists(st.sampled_from([1e-30, 0.1, 1.0, 30.0]), min_size=1, max_size=9),
    data=st.data(),
    sizes=st.sampled_from([(8, 12), (5, 3), (16, 16), (1, 1)]),
    activation=st.sampled_from(["relu", "silu"]),
    kept=st.sampled_from([1.0, 0.6, 0.0]),
)
@settings(max_examples=60, deadline=None)
def test_it_is_all_experts_on_all_tokens(
    num_tokens: int,
    loads: list[float],
    data: st.DataObject,
    sizes: tuple[int, int],
    activation: str,
    kept: float,
) -> None:
    torch.manual_seed(len(loads) + num_tokens)
    top_k = data.draw(st.integers(1, len(loads)))
    assignment = route(num_tokens, loads, top_k, kept)
    case = torch.randn(num_tokens, sizes[0]), assignment, layer(len(loads), *sizes), activation
    assert_same(with_gradients(expert_feed_forward, *case), with_gradients(all_experts, *case))


@pytest.mark.parametrize(
    "loads",
    [
        [3.0] * 3 + [1.0] + [3.0] * 3,
        [1.0] * 16,
        [1.0] + [0.0] * 15,
        [0.0, 1.0, 0.0, 9.0, 9.0, 9.0],
        [2.0**-i for i in range(12)],
    ],
    ids=["one_small", "even", "one_takes_all", "some_empty", "steep"],
)
@pytest.mark.parametrize("top_k", [1, 2])
def test_it_is_so_for_many_tokens_and_as_one_grouped_product(
    loads: list[float], top_k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some of these have rows enough for copies of weights, some have not.
    torch.manual_seed(3)
    if loads.count(0.0) == len(loads) - 1:
        token = torch.arange(900)
        assignment = Assignment(token, torch.full((900,), 0), torch.rand(900))
    else:
        assignment = route(900, loads, top_k)
    case = torch.randn(900, 32), assignment, layer(len(loads), 32, 48)
    expected = with_gradients(all_experts, *case)
    assert_same(with_gradients(expert_feed_forward, *case), expected)
    # What a GPU does; CPUs can do it as well.
    monkeypatch.setattr(module, "grouped_mm_applies", lambda weight, dtype: True)
    assert_same(with_gradients(expert_feed_forward, *case), expected)


def test_the_order_of_assignments_and_of_experts_changes_nothing() -> None:
    torch.manual_seed(0)
    tokens, assignment, parameters = torch.randn(300, 8), route(300, [1.0] * 7, 2), layer(7)
    found = expert_feed_forward(tokens, assignment, *parameters)
    shuffled, moved = torch.randperm(600), torch.randperm(7)
    again = Assignment(
        assignment.token[shuffled],
        moved.argsort()[assignment.expert[shuffled]],
        assignment.weight[shuffled],
    )
    other = expert_feed_forward(tokens, again, *(part[moved] for part in parameters))
    torch.testing.assert_close(found, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_gradients_are_those_of_small_differences(activation: str) -> None:
    torch.manual_seed(1)
    assignment = route(6, [1.0, 1.0, 0.0, 1.0, 5.0], 2)
    parameters = layer(5, 2, 3, dtype=torch.float64)
    values = [torch.randn(6, 2, dtype=torch.float64), assignment.weight.double(), *parameters]

    def compute(tokens: Tensor, weight: Tensor, *parameters: Tensor) -> Tensor:
        chosen = Assignment(assignment.token, assignment.expert, weight)
        return expert_feed_forward(tokens, chosen, *parameters, activation)

    assert torch.autograd.gradcheck(compute, [value.requires_grad_() for value in values])


def roughly(num_tokens: int) -> tuple[list[Tensor], list[Tensor]]:
    """Values and gradients of one layer under autocast, and without."""
    torch.manual_seed(2)
    module = ExpertFeedForward(6, 64, 96)
    tokens, assignment = (
        torch.randn(num_tokens, 64),
        route(num_tokens, [1.0, 0.0, 1.0, 1.0, 3.0, 9.0], 2),
    )
    parameters = [part.detach() for part in module.parameters()]
    # Not rectified units: one that is close to 0 has another gradient when it is rounded.
    case = tokens, assignment, parameters, "silu"
    exact = with_gradients(expert_feed_forward, *case)
    with torch.autocast("cpu", torch.bfloat16):
        return list(with_gradients(expert_feed_forward, *case)), list(exact)


def test_autocast_computes_large_products_in_16_bits_and_stays_close() -> None:
    rough, exact = roughly(4000)
    for one, other in zip(rough, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()
    assert not torch.equal(rough[0], exact[0])


def test_autocast_leaves_small_products_in_float32() -> None:
    rough, exact = roughly(400)
    for one, other in zip(rough, exact, strict=True):
        assert torch.equal(one, other)


def test_experts_without_tokens_get_a_gradient_of_zero() -> None:
    module = ExpertFeedForward(4, 8, 8)
    module(torch.randn(10, 8), route(10, [0.0, 1.0, 0.0, 1.0], 2)).sum().backward()
    for part in module.parameters():
        assert part.grad is not None
        assert not part.grad[[0, 2]].any()
        assert part.grad[[1, 3]].flatten(1).any(dim=1).all()


def test_a_token_that_is_not_a_number_spoils_only_its_own_experts() -> None:
    # Rows of padding repeat rows of the same expert.
    tokens, parameters = torch.randn(9, 8), layer(2)
    tokens[0] = torch.nan
    assignment = Assignment(
        torch.arange(9), torch.tensor([0, 1, 1, 1, 1, 1, 1, 0, 0]), torch.ones(9)
    )
    found = with_gradients(expert_feed_forward, tokens, assignment, parameters)
    assert found[0][1:].isfinite().all()
    assert found[3][1].isfinite().all()


def test_frozen_experts_get_no_gradient_and_pass_one_on() -> None:
    module = ExpertFeedForward(3, 8, 8).requires_grad_(False)
    tokens = torch.randn(10, 8, requires_grad=True)
    module(tokens, route(10, [1.0, 1.0, 1.0], 2)).sum().backward()
    assert tokens.grad is not None
    assert module.weight_in.grad is None


def test_products_in_16_bits_have_few_sizes_and_little_padding() -> None:
    loads = range(1, 4097)
    sizes = [expert_rows._rounded(load) for load in loads]
    waste = [size - load for size, load in zip(sizes, loads, strict=True)]
    assert min(waste) == 0
    assert all(w < 16 or w <= load / 8 for w, load in zip(waste, loads, strict=True))
    assert all(size % 16 == 0 for size in sizes)
    # 8 at each of the five doublings after 128, and 8 up to there.
    assert len(set(sizes)) == 8 * 6


def test_two_of_about_equal_load_are_one_product() -> None:
    products, order, first_rows, num_rows = expert_rows._tile(
        [10, 300, 0, 17, 290, 900], torch.float32
    )
    experts = torch.arange(6)
    tiles = [(experts[tile.experts].tolist(), tile.shape[:2]) for tile in products.tiles]
    assert tiles == [([5], (1, 900)), ([1, 4], (2, 300)), ([0, 3], (2, 17))]
    assert order == [5, 1, 4, 0, 3, 2]
    assert first_rows == [0, 900, 1200, 1500, 1517, 1534]
    assert num_rows == 1534
    assert products.empty == [2]


@pytest.mark.parametrize("loads", [[0, 300, 17, 290, 0, 900], [500, 400, 300, 200]])
def test_experts_far_apart_in_memory_are_computed_together(loads: list[int]) -> None:
    expert = torch.arange(len(loads)).repeat_interleave(torch.tensor(loads))
    expert = expert[torch.randperm(len(expert))]
    assignment = Assignment(torch.arange(len(expert)), expert, torch.randn(len(expert)))
    tokens, parameters = torch.randn(len(expert), 8), layer(len(loads))
    found = with_gradients(expert_feed_forward, tokens, assignment, parameters)
    assert_same(found, with_gradients(all_experts, tokens, assignment, parameters))


def test_silenced_units_are_silent_for_all_tokens_of_an_expert_in_one_step_only() -> None:
    experts = ExpertFeedForward(3, 8, 200, dropout=0.4).train()
    tokens = torch.randn(60, 8)
    assignment = Assignment(torch.arange(60), torch.arange(60) % 3, torch.ones(60))
    with torch.no_grad():
        experts.bias_in.fill_(9.0)  # so that every unit answers
    silent = []
    for _ in range(2):
        experts.zero_grad()
        experts(tokens, assignment).sum().backward()
        assert experts.weight_out.grad is not None
        gone = (experts.weight_out.grad == 0).all(dim=2)  # (E, H)
        silent.append(gone)
        # A dropped unit has no gradient; any other has one from all of its tokens.
        assert experts.weight_in.grad is not None
        assert torch.equal((experts.weight_in.grad == 0).all(dim=1), gone)
        assert 0.3 < gone.float().mean() < 0.5
    assert not torch.equal(*silent)


@pytest.mark.slow
def test_silencing_units_changes_no_expectation_and_nothing_in_use() -> None:
    experts = ExpertFeedForward(2, 4, 16, dropout=0.5)
    tokens = torch.randn(10, 4)
    assignment = Assignment(torch.arange(10), torch.arange(10) % 2, torch.ones(10))
    in_use = experts.eval()(tokens, assignment)
    assert torch.equal(in_use, experts(tokens, assignment))
    experts.train()
    drawn = torch.stack([experts(tokens, assignment).detach() for _ in range(4000)])
    assert drawn.std(dim=0).min() > 0.01
    torch.testing.assert_close(drawn.mean(dim=0), in_use, atol=0.05, rtol=0)
    equal_groups = tokens.reshape(2, 5, 4)
    rows = torch.stack([experts.equal_groups(equal_groups).detach() for _ in range(4000)])
    wanted = experts.eval().equal_groups(equal_groups)
    assert rows.std(dim=0).min() > 0.01
    torch.testing.assert_close(rows.mean(dim=0), wanted, atol=0.05, rtol=0)
