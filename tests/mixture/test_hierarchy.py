"""Trees of experts: worked by hand, against flat mixtures and scipy, and EM that never falls."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from phoneme_moe.mixture.trees.em import em_step, gradient_step
from phoneme_moe.mixture.trees.hierarchy import (
    HierarchicalMixture,
    active_paths,
    balanced_tree,
    branch_posteriors,
    leaf_scores,
    prune,
    split_leaf,
)
from phoneme_moe_reproductions.perceptrons import PerceptronMixture

BRANCHINGS = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def tree(
    branching: tuple[int, ...], inputs: int = 2, classes: int = 3, seed: int = 0
) -> HierarchicalMixture:
    torch.manual_seed(seed)
    mixture = HierarchicalMixture(inputs, classes, balanced_tree(branching)).double()
    with torch.no_grad():
        mixture.experts.normal_()
    return mixture


def cases(
    count: int = 30, inputs: int = 2, classes: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
    return seen, torch.randint(classes, (count,), generator=generator)


def test_a_balanced_tree_has_every_path_once() -> None:
    paths = balanced_tree((2, 3))
    assert paths.shape == (6, 3, 3)
    # One branch at each of the two levels.
    assert paths.sum(dim=(1, 2)).tolist() == [2] * 6
    assert len({tuple(path.flatten().tolist()) for path in paths}) == 6
    # The root has two branches of three leaves, the gates below have three of one.
    assert paths.sum(dim=0).tolist() == [[3, 3, 0], [1, 1, 1], [1, 1, 1]]
    assert balanced_tree(()).shape == (1, 0, 1)


def test_weights_and_posteriors_worked_by_hand() -> None:
    mixture = tree((2, 2), inputs=1, classes=2)
    with torch.no_grad():
        for weights in (mixture.gates, mixture.experts):
            weights.zero_()
        # Only biases: the root has 3/4 and 1/4, below 1/2 and 1/2, then 1/5 and 4/5.
        proportions = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.2, 0.8]])
        mixture.gates[:, 1] = proportions.log()
        posteriors = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.25, 0.75]])
        mixture.experts[:, 1] = posteriors.log()
    inputs, classes = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0])
    weights = mixture.log_leaf_weights(inputs).exp()[0]
    assert weights.tolist() == pytest.approx([0.375, 0.375, 0.05, 0.2])
    # 0.3 + 0.15 + 0.025 + 0.05
    assert mixture.log_likelihood(inputs, classes).exp().item() == pytest.approx(0.525)
    assert mixture.log_posteriors(inputs).exp()[0].tolist() == pytest.approx([0.525, 0.475])
    leaves = mixture.log_joint(inputs, classes).softmax(dim=-1)
    assert (leaves[0] * 0.525).tolist() == pytest.approx([0.3, 0.15, 0.025, 0.05])
    branches = branch_posteriors(leaves, mixture.paths)[0]
    assert branches[0].tolist() == pytest.approx([0.45 / 0.525, 0.075 / 0.525])  # h_i
    conditional = branches[1:] / branches[1:].sum(dim=-1, keepdim=True)  # h_{j|i}
    assert conditional.flatten().tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 2 / 3])


@pytest.mark.parametrize("branching", [(4,), (2, 2), (3, 1, 2)])
def test_weights_and_posteriors_sum_to_one(branching: tuple[int, ...]) -> None:
    mixture, (inputs, _) = tree(branching), cases()
    ones = torch.ones(len(inputs), dtype=torch.float64)
    torch.testing.assert_close(mixture.log_leaf_weights(inputs).exp().sum(dim=-1), ones)
    torch.testing.assert_close(mixture.log_posteriors(inputs).exp().sum(dim=-1), ones)


def test_one_level_is_the_flat_mixture() -> None:
    flat = PerceptronMixture(1, 4, 2, 3).double()
    mixture = tree((4,))
    with torch.no_grad():
        for own, layer in ((mixture.experts, flat.experts), (mixture.gates, flat.gate)):
            linear = layer.layers[0]
            own.copy_(torch.cat([linear.weight, linear.bias], dim=1))
    inputs, _ = cases()
    log_weights, answers = mixture(inputs)
    flat_weights, scores = flat(inputs)
    torch.testing.assert_close(log_weights, flat_weights[0])
    torch.testing.assert_close(answers, scores[0].log_softmax(dim=-1))


def test_gradients_are_finite_differences_and_posteriors_less_proportions() -> None:
    mixture, (inputs, classes) = tree((2, 3)), cases(6)

    def likelihood(experts: Tensor, gates: Tensor) -> Tensor:
        return torch.func.functional_call(
            Likelihood(mixture), {"tree.experts": experts, "tree.gates": gates}, (inputs, classes)
        )

    weights = [p.detach().clone().requires_grad_() for p in (mixture.experts, mixture.gates)]
    assert torch.autograd.gradcheck(likelihood, tuple(weights))
    # For the root's biases, dL/ds_i = h_i - g_i (Jordan & Jacobs 1992).
    mixture.log_likelihood(inputs, classes).sum().backward()
    assert mixture.gates.grad is not None
    with torch.no_grad():
        leaves = mixture.log_joint(inputs, classes).softmax(dim=-1)
        h = branch_posteriors(leaves, mixture.paths)[:, 0]
        g = mixture.log_proportions(inputs)[:, 0].exp()
    difference = (h - g)[:, mixture.branches[0]].sum(dim=0)
    torch.testing.assert_close(mixture.gates.grad[0, -1, mixture.branches[0]], difference)


class Likelihood(torch.nn.Module):
    def __init__(self, mixture: HierarchicalMixture) -> None:
        super().__init__()
        self.tree = mixture

    def forward(self, inputs: Tensor, classes: Tensor) -> Tensor:
        return self.tree.log_likelihood(inputs, classes)


def test_the_order_of_leaves_and_of_a_gates_branches_changes_nothing() -> None:
    mixture, (inputs, _) = tree((2, 3)), cases()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    branches = torch.tensor([1, 0, 2])
    other = HierarchicalMixture(2, 3, mixture.paths[order][:, :, branches]).double()
    with torch.no_grad():
        other.experts.copy_(mixture.experts[order])
        other.gates.copy_(mixture.gates[:, :, branches])
    torch.testing.assert_close(other.log_posteriors(inputs), mixture.log_posteriors(inputs))
    weights = mixture.log_leaf_weights(inputs)
    torch.testing.assert_close(other.log_leaf_weights(inputs), weights[:, order])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    BRANCHINGS,
    st.integers(1, 4),
    st.integers(2, 4),
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 10_000),
)
def test_em_never_lowers_the_likelihood(
    branching: tuple[int, ...],
    inputs: int,
    classes: int,
    count: int,
    irls_steps: int,
    decay: float,
    seed: int,
) -> None:
    # Few cases, which a tree can tell apart, are the hard ones: the weights run away.
    mixture = tree(branching, inputs, classes, seed)
    seen, right = cases(count, inputs, classes, seed)
    before = -torch.inf
    for _ in range(8):
        squares = sum(float(p.detach().square().sum()) for p in mixture.parameters())
        found = em_step(mixture, seen, right, decay, irls_steps)
        maximised = found - decay / 2 * squares / count
        assert maximised >= before - 1e-9
        before = maximised
    assert (mixture.log_likelihood(seen, right) <= 0).all()


def test_em_on_a_tree_that_has_grown_never_lowers_the_likelihood() -> None:
    seen, right = cases(200, 3, 4)
    mixture = HierarchicalMixture(3, 4, balanced_tree(())).double()
    for leaf in (0, 0, 2):
        found = [em_step(mixture, seen, right) for _ in range(6)]
        assert all(b >= a - 1e-9 for a, b in pairwise(found))
        mixture = split_leaf(mixture, leaf, noise=0.1)
    assert mixture.num_leaves == 4
    # Split at the root, then at the first leaf, then at its copy.
    assert mixture.paths.sum(dim=(1, 2)).tolist() == [2, 1, 3, 3]


def test_one_leaf_is_multinomial_logistic_regression() -> None:
    seen, right = cases(60, 2, 3)
    mixture = HierarchicalMixture(2, 3, balanced_tree(())).double()
    for _ in range(15):
        em_step(mixture, seen, right)
    design = torch.cat([seen, torch.ones(60, 1, dtype=torch.float64)], dim=1)

    def cost(flat: object) -> float:
        scores = design @ torch.as_tensor(flat).view(3, 3)
        return float(torch.nn.functional.cross_entropy(scores, right))

    found = minimize(cost, torch.zeros(9, dtype=torch.float64).numpy(), method="BFGS", tol=1e-7)
    ours = mixture.log_likelihood(seen, right).mean().item()
    assert ours == pytest.approx(-found.fun, abs=1e-7)
    expected = (design @ torch.as_tensor(found.x).view(3, 3)).log_softmax(dim=-1)
    torch.testing.assert_close(mixture.log_posteriors(seen), expected, atol=1e-4, rtol=1e-4)


def test_a_prior_keeps_weights_small_and_finds_its_own_maximum() -> None:
    seen, right = cases(40)
    mixture = tree((2,))
    for _ in range(300):
        em_step(mixture, seen, right, decay=0.5)
    mixture.log_likelihood(seen, right).sum().backward()
    for parameter in mixture.parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 0.5 * parameter, atol=2e-3, rtol=0)


def test_gradient_steps_raise_the_likelihood() -> None:
    mixture, (seen, right) = tree((2, 2)), cases()
    optimizer = torch.optim.Rprop(mixture.parameters())
    found = [gradient_step(mixture, optimizer, seen, right) for _ in range(30)]
    assert found[-1] > found[0] + 0.1


@given(BRANCHINGS, st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_splitting_without_noise_leaves_the_function(branching: tuple[int, ...], seed: int) -> None:
    mixture, (inputs, _) = tree(branching, seed=seed), cases()
    leaf = seed % mixture.num_leaves
    grown = split_leaf(mixture, leaf, scale=2.0)
    assert grown.num_leaves == mixture.num_leaves + 1
    torch.testing.assert_close(grown.log_posteriors(inputs), mixture.log_posteriors(inputs))
    # And joining the two again by pruning either gives the tree back.
    keep = torch.ones(grown.num_leaves, dtype=torch.bool)
    keep[leaf] = False
    back = prune(grown, keep)
    torch.testing.assert_close(back.log_posteriors(inputs), mixture.log_posteriors(inputs))
    assert not torch.equal(split_leaf(mixture, leaf, noise=0.1).experts, grown.experts)


def test_pruning_a_leaf_of_no_weight_changes_nothing() -> None:
    mixture, (inputs, _) = tree((2, 3)), cases()
    with torch.no_grad():
        mixture.gates[1, -1, 2] = -800.0  # the third leaf
    keep = torch.arange(6) != 2
    pruned = prune(mixture, keep)
    assert pruned.num_leaves == 5
    torch.testing.assert_close(pruned.log_posteriors(inputs), mixture.log_posteriors(inputs))
    log_weights = mixture.log_leaf_weights(inputs)
    torch.testing.assert_close(pruned.log_leaf_weights(inputs), log_weights[:, keep])
    assert not active_paths(log_weights, -15.0)[:, 2].any()


def test_gates_with_one_branch_left_go_and_a_last_leaf_is_a_plain_expert() -> None:
    mixture, (inputs, _) = tree((2, 2)), cases()
    left = prune(mixture, torch.tensor([True, False, True, True]))
    assert left.paths.shape[:2] == (3, 2)
    alone = prune(mixture, torch.tensor([False, True, False, False]))
    assert alone.paths.shape[:2] == (1, 0)
    torch.testing.assert_close(alone.log_posteriors(inputs), mixture(inputs)[1][:, 1])
    with pytest.raises(ValueError, match="keep: expected at least one leaf"):
        prune(mixture, torch.zeros(4, dtype=torch.bool))


def test_the_worst_leaf_is_the_one_whose_cases_are_the_least_likely() -> None:
    mixture = tree((2,), inputs=1, classes=2)
    with torch.no_grad():
        # The left expert has the negative inputs and is sure of the wrong class.
        mixture.gates.copy_(torch.tensor([[[-20.0, 20.0], [0.0, 0.0]]]))
        mixture.experts.copy_(torch.tensor([[[0.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]]))
    seen = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    scores = leaf_scores(mixture, seen, torch.tensor([1, 1]))
    wrong = float(torch.nn.functional.logsigmoid(torch.tensor(-3.0)))
    right = float(torch.nn.functional.logsigmoid(torch.tensor(3.0)))
    assert scores.tolist() == pytest.approx([wrong, right], abs=1e-6)


def test_a_case_always_has_an_active_path() -> None:
    log_weights = torch.tensor([[0.5, 0.3, 0.2], [0.98, 0.01, 0.01]]).log()
    active = active_paths(log_weights, -0.1)
    assert active.tolist() == [[True, False, False], [True, False, False]]
    assert active_paths(log_weights, -2.0).sum(dim=-1).tolist() == [3, 1]
