from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from phoneme_moe.mixture.sparse.balance import SelectionBias
from phoneme_moe.mixture.sparse.routers import Noise, TokenChoice
from phoneme_moe.mixture.sparse.scores import (
    ContextWindow,
    GivenScores,
    HashScores,
    LinearScores,
    mean_over_frames,
)
from phoneme_moe.mixture.sparse.selection import Choice, Weighting
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice

# Odds of 1 : 2 : 5, so that probabilities are eighths and sigmoids are 1/2, 2/3 and 5/6.
ODDS = torch.tensor([[1.0, 2.0, 5.0]]).log()


def of_scores(num_experts: int, top_k: int, **settings: Any) -> TokenChoice:
    """A router whose inputs are the scores."""
    return TokenChoice(GivenScores(num_experts), top_k, **settings)


def linear(num_features: int, num_experts: int, top_k: int, **settings: Any) -> TokenChoice:
    scores = LinearScores(num_features, num_experts)
    with torch.no_grad():
        scores.weight.normal_()
    return TokenChoice(scores, top_k, **settings)


def inputs_of(decisions: int, channels: int, seed: int = 0) -> Tensor:
    # Not torch's own seed 0, or inputs would be the weights drawn with it.
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(decisions, channels, generator=generator)


def test_learned_scores_are_products_with_each_experts_row() -> None:
    scores = LinearScores(2, 3)
    with torch.no_grad():
        scores.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [1, -1]]))
    found = scores(torch.tensor([[3.0, 4], [-1, 0]]))
    assert found.tolist() == [[3, 8, -1], [-1, 0, -1]]


def test_first_scores_are_near_uniform_but_no_two_alike() -> None:
    torch.manual_seed(0)
    shares = LinearScores(64, 8)(inputs_of(100, 64)).softmax(dim=-1)
    assert float((shares * 8 - 1).abs().max().detach()) < 1
    assert shares[0].unique().numel() == 8


def test_scores_of_a_hash_are_cosines_with_fixed_directions() -> None:
    hashed = HashScores(3, 2)
    hashed.directions.copy_(torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8]]))
    found = hashed(torch.tensor([[3.0, 0, 4], [0, 10, 0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.64], [0.0, 0.6]]))


def test_a_hash_never_changes_and_owes_nothing_to_torchs_seed() -> None:
    torch.manual_seed(1)
    first = HashScores(6, 4, seed=3)
    torch.manual_seed(2)
    second, other = HashScores(6, 4, seed=3), HashScores(6, 4, seed=4)
    assert torch.equal(first.directions, second.directions)
    assert not torch.equal(first.directions, other.directions)
    torch.testing.assert_close(first.directions.norm(dim=-1), torch.ones(4))
    assert not list(first.parameters())
    frames = inputs_of(5, 6).requires_grad_()
    assert not first(frames).requires_grad
    # Kept with the weights, so that another version of torch cannot hash otherwise.
    other.load_state_dict(first.state_dict())
    torch.testing.assert_close(other(7 * frames), first(frames))


def every_router() -> list[tuple[str, nn.Module]]:
    torch.manual_seed(0)
    return [
        ("linear", linear(8, 6, 2)),
        ("gaussian", linear(8, 6, 2, noise="gaussian")),
        ("sigmoid", linear(8, 6, 2, score="sigmoid")),
        ("hash", TokenChoice(HashScores(8, 6), 2)),
        ("tree", TreeChoice(8, [3, 2], 2)),
        ("tree_odd", TreeChoice(7, [3, 2], 2)),
    ]


@pytest.mark.parametrize(("name", "router"), every_router())
def test_routers_compute_in_float32_whatever_the_precision_around(
    name: str, router: nn.Module
) -> None:
    inputs = inputs_of(40, 7 if name == "tree_odd" else 8).bfloat16()
    torch.manual_seed(0)
    expected: Choice = router(inputs.float())
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found: Choice = router(inputs)
    assert found.weights.dtype == torch.float32
    assert torch.equal(found.experts, expected.experts)
    torch.testing.assert_close(found.weights, expected.weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "experts", "weights"),
    [
        ({"top_k": 1, "weighting": "before"}, [2], [5 / 8]),
        ({"top_k": 2, "weighting": "before"}, [2, 1], [5 / 8, 2 / 8]),
        ({"top_k": 2, "weighting": "after"}, [2, 1], [5 / 7, 2 / 7]),
        ({"top_k": 3, "weighting": "after"}, [2, 1, 0], [5 / 8, 2 / 8, 1 / 8]),
        ({"top_k": 2, "score": "sigmoid", "weighting": "before"}, [2, 1], [5 / 6, 2 / 3]),
        ({"top_k": 2, "score": "sigmoid", "weighting": "after"}, [2, 1], [5 / 9, 4 / 9]),
        ({"top_k": 2, "weighting": "before", "straight_through": True}, [2, 1], [1 / 2, 1 / 2]),
        ({"top_k": 1, "weighting": "before", "straight_through": True}, [2], [1.0]),
    ],
)
def test_token_choice_by_hand(
    settings: dict[str, Any], experts: list[int], weights: list[float]
) -> None:
    choice: Choice = of_scores(3, **settings)(ODDS)
    assert choice.experts.tolist() == [experts]
    torch.testing.assert_close(choice.weights[0], torch.tensor(weights))
    sigmoids = settings.get("score") == "sigmoid"
    probabilities = [[1 / 2, 2 / 3, 5 / 6]] if sigmoids else [[1 / 8, 2 / 8, 5 / 8]]
    torch.testing.assert_close(choice.probabilities, torch.tensor(probabilities))
    assert choice.scores is not None
    assert torch.equal(choice.scores, ODDS)
    ((mean, share),) = choice.levels
    # Shares of the sigmoids: 3/6, 4/6, 5/6 of 12/6.
    shares = [3 / 12, 4 / 12, 5 / 12] if sigmoids else probabilities[0]
    torch.testing.assert_close(mean, torch.tensor(shares))
    expected = [1 / len(experts) if e in experts else 0 for e in range(3)]
    torch.testing.assert_close(share, torch.tensor(expected))


def test_figures_of_a_level_are_over_all_decisions() -> None:
    scores = torch.tensor([[5.0, 2, 1], [1, 5, 2], [5, 1, 2], [5, 2, 1]]).log()
    ((mean, share),) = of_scores(3, 2)(scores).levels
    torch.testing.assert_close(mean, torch.tensor([16.0, 10, 6]) / 32)
    torch.testing.assert_close(share, torch.tensor([3.0, 3, 2]) / 8)


def test_the_router_of_a_single_hard_expert_learns_as_if_it_were_weighed() -> None:
    gradients = []
    for hard in (True, False):
        scores = ODDS.clone().requires_grad_()
        weights = of_scores(3, 1, weighting="before", straight_through=hard)(scores).weights
        gradients += torch.autograd.grad(weights.sum(), scores)
    torch.testing.assert_close(gradients[0], torch.tensor([[-5 / 64, -10 / 64, 15 / 64]]))
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("noise", ["gaussian", "jitter", "gumbel"])
def test_noise_is_for_training_only(noise: Noise) -> None:
    torch.manual_seed(0)
    noisy, plain = linear(8, 6, 2, noise=noise), linear(8, 6, 2)
    plain.load_state_dict(noisy.state_dict(), strict=False)
    inputs = inputs_of(50, 8)
    expected = plain.eval()(inputs)
    assert not torch.equal(noisy(inputs).weights, noisy(inputs).weights)
    found = noisy.eval()(inputs)
    assert torch.equal(found.experts, expected.experts)
    assert torch.equal(found.weights, expected.weights)
    assert found.load is None


def test_jitter_multiplies_each_input_within_its_width() -> None:
    torch.manual_seed(0)
    router = of_scores(2, 1, weighting="before", noise="jitter", noise_scale=0.25)
    inputs = torch.tensor([4.0, -2.0]).expand(4000, 2)
    scores = router(inputs).scores
    assert scores is not None
    factor = scores / inputs
    assert 0.75 <= float(factor.min()) < 0.755
    assert 1.245 < float(factor.max()) <= 1.25
    # Uniform: mean 1, variance width^2 / 3; and each channel draws its own.
    assert float(factor.mean()) == pytest.approx(1, abs=0.01)
    assert float(factor.var()) == pytest.approx(0.25**2 / 3, rel=0.05)
    assert abs(float(factor.T.corrcoef()[0, 1])) < 0.05


def test_gumbel_noise_draws_experts_by_their_probability() -> None:
    torch.manual_seed(0)
    router = of_scores(3, 1, weighting="before", noise="gumbel")
    drawn = router(ODDS.expand(20_000, 3)).experts[:, 0]
    found = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(found, torch.tensor([1 / 8, 2 / 8, 5 / 8]), atol=0.0142, rtol=0)


def test_noisy_top_k_selects_and_weighs_with_noise_and_reports_without() -> None:
    torch.manual_seed(0)
    router = linear(4, 5, 2, noise="gaussian")
    inputs = inputs_of(400, 4)
    assert isinstance(router.scores, LinearScores)
    clean = inputs @ router.scores.weight.detach().T
    torch.manual_seed(1)
    choice: Choice = router(inputs)
    torch.manual_seed(1)
    # The spread begins at softplus(0) = ln 2.
    noisy = clean + math.log(2) * torch.randn(400, 5)
    best = noisy.topk(2)
    assert torch.equal(choice.experts, best.indices)
    assert not torch.equal(choice.experts, clean.topk(2).indices)
    torch.testing.assert_close(choice.weights, best.values.softmax(dim=-1))
    assert choice.scores is not None
    assert choice.probabilities is not None
    torch.testing.assert_close(choice.scores, clean)
    torch.testing.assert_close(choice.probabilities, clean.softmax(dim=-1))
    # In expectation as many choices as were made.
    assert choice.load is not None
    assert float(choice.load.sum().detach()) == pytest.approx(800, rel=0.05)


def test_noisy_top_k_learns_its_spread() -> None:
    torch.manual_seed(0)
    router = linear(4, 5, 2, noise="gaussian")
    assert router.spread is not None
    choice: Choice = router(inputs_of(40, 4))
    assert choice.load is not None
    for value in ((choice.weights**2).sum(), choice.load.square().sum()):
        (gradient,) = torch.autograd.grad(value, router.spread, retain_graph=True)
        assert float(gradient.abs().sum()) > 1e-3


def test_where_all_experts_are_chosen_there_is_no_load_to_expect() -> None:
    router = linear(4, 5, 5, noise="gaussian")
    assert router(inputs_of(7, 4)).load is None


def test_experts_are_selected_with_the_bias_and_weighed_without() -> None:
    bias = SelectionBias(3, rate=0.1, every=1)
    bias.bias.copy_(torch.tensor([0.6, 0.0, 0.0]))
    # Probabilities 1/8, 2/8, 5/8; with the bias 0.725, 0.25, 0.625.
    choice: Choice = of_scores(3, 2, weighting="before", bias=bias)(ODDS)
    assert choice.experts.tolist() == [[0, 2]]
    torch.testing.assert_close(choice.weights, torch.tensor([[1 / 8, 5 / 8]]))
    after: Choice = of_scores(3, 2, weighting="after", bias=bias)(ODDS)
    torch.testing.assert_close(after.weights, torch.tensor([[1 / 6, 5 / 6]]))
    torch.testing.assert_close(after.probabilities, torch.tensor([[1 / 8, 2 / 8, 5 / 8]]))


def test_a_bias_has_no_gradient_and_choosing_leaves_it_as_it_is() -> None:
    bias = SelectionBias(3, rate=0.1, every=1)
    router = of_scores(3, 2, bias=bias)
    for training in (True, False):
        router.train(training)
        choice: Choice = router(inputs_of(9, 3).requires_grad_())
        choice.weights.sum().backward()
        for name, value in bias.named_buffers():
            assert not value.any(), name


@pytest.mark.parametrize("biased", [False, True])
def test_a_new_expert_is_not_selected_whatever_its_bias(biased: bool) -> None:
    bias = SelectionBias(3, rate=0.1, every=1) if biased else None
    if bias is not None:
        bias.bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    router = of_scores(3, 2, bias=bias)
    router.offset.copy_(torch.tensor([0.0, 0.0, 50.0]))
    choice: Choice = router(ODDS)
    assert choice.experts.tolist() == [[1, 0]]
    # As if the third were not there: odds 1 : 2.
    torch.testing.assert_close(choice.weights, torch.tensor([[2 / 3, 1 / 3]]))
    torch.testing.assert_close(choice.probabilities, torch.tensor([[1 / 3, 2 / 3, 0]]))


def test_balanced_assignment_shares_frames_out_in_training_and_takes_the_best_afterwards() -> None:
    # All prefer expert 0, by more or less.
    scores = inputs_of(64, 4) + torch.tensor([4.0, 0, 0, 0])
    router = of_scores(4, 1, weighting="before", selection="balanced")
    trained: Choice = router(scores)
    counts = torch.bincount(trained.experts[:, 0], minlength=4)
    assert (counts - 16).abs().max() <= 4
    assert (scores.argmax(dim=-1) == 0).sum() > 60
    evaluated: Choice = router.eval()(scores)
    assert torch.equal(evaluated.experts, scores.topk(1).indices)
    # Weights are the router's own probabilities in both.
    expected = scores.softmax(dim=-1).gather(1, trained.experts)
    torch.testing.assert_close(trained.weights, expected)


def test_token_choice_without_decisions_is_empty() -> None:
    for selection in ("top_k", "balanced"):
        choice: Choice = of_scores(3, 2, selection=selection)(ODDS[:0])
        assert choice.experts.shape == choice.weights.shape == (0, 2)
        ((mean, share),) = choice.levels
        assert mean.tolist() == share.tolist() == [0] * 3


def leaves_by_enumeration(tree: TreeChoice, inputs: Tensor) -> Tensor:
    """Log probability of every path, shape (decisions, experts)."""
    found = []
    for path in itertools.product(*map(range, tree.levels)):
        node, log_path = 0, torch.zeros(len(inputs))
        for weight, branch, branches in zip(tree.weights, path, tree.levels, strict=True):
            log_path = log_path + (inputs @ weight[node]).log_softmax(dim=-1)[:, branch]
            node = node * branches + branch
        found.append(log_path)
    return torch.stack(found, dim=-1)


def tree_of(levels: Sequence[int], top_k: int, channels: int = 8, **settings: Any) -> TreeChoice:
    tree = TreeChoice(channels, levels, top_k, **settings)
    with torch.no_grad():
        for weight in tree.weights:
            weight.normal_()
    return tree


def test_a_tree_by_hand() -> None:
    tree = TreeChoice(1, [2, 2], 2, weighting="before")
    with torch.no_grad():
        # At input 1: groups 3/4 and 1/4; within them 2/3, 1/3 and 1/10, 9/10.
        tree.weights[0].copy_(torch.tensor([[[3.0, 1.0]]]).log())
        tree.weights[1].copy_(torch.tensor([[[2.0, 1.0]], [[1.0, 9.0]]]).log())
    one = torch.ones(1, 1)
    choice: Choice = tree(one)
    # Paths 1/2, 1/4, 1/40, 9/40.
    assert choice.experts.tolist() == [[0, 1]]
    torch.testing.assert_close(choice.weights, torch.tensor([[1 / 2, 1 / 4]]))
    (groups, group_share), (leaves, leaf_share) = choice.levels
    torch.testing.assert_close(groups, torch.tensor([3 / 4, 1 / 4]))
    torch.testing.assert_close(group_share, torch.tensor([1 / 2, 1 / 2]))
    torch.testing.assert_close(leaves, torch.tensor([1 / 2, 1 / 4, 1 / 40, 9 / 40]))
    torch.testing.assert_close(leaf_share, torch.tensor([1 / 2, 1 / 2, 0, 0]))
    assert choice.scores is None
    assert choice.probabilities is None
    tree.weighting = "after"
    torch.testing.assert_close(tree(one).weights, torch.tensor([[2 / 3, 1 / 3]]))
    # Paths 0.4, 0, 0.3, 0.3: a beam of one does not see the best, whose group lost by 0.4 to 0.6.
    narrow = TreeChoice(1, [2, 2], 1, weighting="before")
    with torch.no_grad():
        narrow.weights[0].copy_(torch.tensor([[[0.4, 0.6]]]).log())
        narrow.weights[1].copy_(torch.tensor([[[1.0, 1e-9]], [[0.5, 0.5]]]).log())
    found: Choice = narrow(one)
    assert int(found.experts) in {2, 3}
    torch.testing.assert_close(found.weights, torch.tensor([[0.3]]))


@pytest.mark.parametrize(
    ("levels", "top_k"), [([3, 4], 3), ([2, 3], 2), ([2, 2, 3], 4), ([2, 3, 2], 6), ([5], 2)]
)
@pytest.mark.parametrize("channels", [8, 7])
def test_a_beam_as_wide_as_the_tree_finds_the_best_leaves(
    levels: list[int], top_k: int, channels: int
) -> None:
    # Products of groups have one path for channels in fours and another for the rest.
    torch.manual_seed(0)
    tree = tree_of(levels, top_k, channels, weighting="before")
    inputs = inputs_of(50, channels)
    choice: Choice = tree(inputs)
    leaves = leaves_by_enumeration(tree, inputs)
    torch.testing.assert_close(leaves.exp().sum(dim=-1), torch.ones(50))
    best = leaves.topk(top_k, dim=-1)
    assert torch.equal(choice.experts, best.indices)
    torch.testing.assert_close(choice.weights, best.values.exp())
    tree.weighting = "after"
    torch.testing.assert_close(tree(inputs).weights, best.values.softmax(dim=-1))
    direction = inputs_of(50, top_k, seed=1)
    found, wanted = (
        torch.autograd.grad((weights * direction).sum(), list(tree.weights))
        for weights in (choice.weights, best.values.exp())
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def beam_by_loop(tree: TreeChoice, inputs: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Experts and path probabilities of every decision, node by node."""
    experts, weights = [], []
    for frame in inputs:
        beam = [(1.0, 0)]
        for weight, branches in zip(tree.weights, tree.levels, strict=True):
            grown = []
            for path, node in beam:
                shares = (frame @ weight[node]).softmax(dim=-1).tolist()
                grown += [(path * p, node * branches + i) for i, p in enumerate(shares)]
            beam = sorted(grown, reverse=True)[: tree.top_k]
        experts.append([node for _, node in beam])
        weights.append([path for path, _ in beam])
    return experts, weights


@given(
    levels=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=25)
def test_a_tree_keeps_the_best_paths_of_every_level(
    levels: list[int], seed: int, data: st.DataObject
) -> None:
    top_k = data.draw(st.integers(1, levels[0]))
    torch.manual_seed(seed)
    tree = tree_of(levels, top_k, weighting="before")
    inputs = inputs_of(6, 8, seed)
    choice: Choice = tree(inputs)
    experts, weights = beam_by_loop(tree, inputs)
    assert choice.experts.tolist() == experts
    torch.testing.assert_close(choice.weights, torch.tensor(weights))
    for depth, (mean, share) in enumerate(choice.levels):
        assert len(mean) == len(share) == math.prod(levels[: depth + 1])
        assert float(share.sum()) == pytest.approx(1)


@pytest.mark.parametrize("weighting", ["before", "after"])
@pytest.mark.parametrize("channels", [8, 7])
def test_only_groups_that_were_looked_into_learn(weighting: Weighting, channels: int) -> None:
    torch.manual_seed(0)
    tree = tree_of([4, 4, 2], 2, channels, weighting=weighting)
    frame = inputs_of(1, channels)
    choice: Choice = tree(frame)
    groups = (frame @ tree.weights[0][0]).topk(2).indices[0].tolist()
    paths = leaves_by_enumeration(tree, frame).exp().reshape(4, 4, 2).sum(dim=2)
    inner = [(float(paths[g, i].detach()), 4 * g + i) for g in groups for i in range(4)]
    kept = sorted(node for _, node in sorted(inner)[-2:])

    def learning(value: Tensor) -> list[list[int]]:
        gradients = torch.autograd.grad(value, list(tree.weights), retain_graph=True)
        return [g.flatten(1).any(dim=1).nonzero()[:, 0].tolist() for g in gradients]

    balance = torch.stack([mean.square().sum() for mean, _ in choice.levels]).sum()
    assert learning(balance) == [[0], sorted(groups), kept]
    weights = learning((choice.weights * torch.tensor([1.0, -1.0])).sum())
    assert set(weights[2]) == {int(e) // 2 for e in choice.experts.flatten()} <= set(kept)
    assert set(weights[1]) <= set(groups)


def test_the_arithmetic_of_a_tree_grows_with_its_depth_not_with_its_experts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def operations(levels: list[int]) -> int:
        # Odd channels take the path that the counter can see into.
        tree = tree_of(levels, 2, channels=7)
        with FlopCounterMode(display=False) as counter:
            tree(inputs_of(64, 7))
        return counter.get_total_flops()

    flat, two, three = operations([4]), operations([4, 4]), operations([4, 4, 4])
    assert flat == 2 * 64 * 7 * 4
    # Every further level looks into the two groups that were kept, however many there are.
    assert two - flat == three - two == 2 * flat
    assert operations([4, 8]) - flat == 2 * 2 * 64 * 7 * 8


@pytest.mark.parametrize("window", [1, 5, 9, 13])
def test_a_context_window_sees_exactly_its_frames(window: int) -> None:
    torch.manual_seed(0)
    context = ContextWindow(3, 16, window)
    frames = inputs_of(31, 3)[None].requires_grad_()
    seen = context(frames, torch.ones(1, 31, dtype=torch.bool))
    assert seen.shape == (1, 31, 16)
    (gradient,) = torch.autograd.grad(seen[0, 15].square().sum(), frames)
    reach = gradient[0].abs().sum(dim=-1).nonzero()[:, 0].tolist()
    assert reach == list(range(15 - window // 2, 16 + window // 2))


def test_a_context_window_takes_padding_for_the_end() -> None:
    torch.manual_seed(0)
    context = ContextWindow(3, 4, 9)
    frames = inputs_of(20, 3).reshape(2, 10, 3)
    mask = torch.arange(10) < torch.tensor([10, 6])[:, None]
    spoilt = torch.where(mask[..., None], frames, torch.full_like(frames, 9.0))
    alone = context(frames[1:, :6], mask[1:, :6])
    torch.testing.assert_close(context(spoilt, mask)[1:, :6], alone, atol=1e-6, rtol=0)


def test_the_mean_over_frames_is_of_real_frames() -> None:
    frames = torch.tensor([[[1.0, 2], [3, 6]], [[5, 5], [70, 70]], [[80, 80], [90, 90]]])
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    assert mean_over_frames(frames, mask).tolist() == [[2, 4], [5, 5], [0, 0]]
