from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.mixture.sparse.balance import (
    SelectionBias,
    count_decisions,
    importance_loss,
    mean_probability,
    share_of_choices,
    squared_variation,
    switch_loss,
    z_loss,
)

# Three decisions of two experts each among four; the last is not selected.
EXPERTS = torch.tensor([[0, 1], [0, 2], [1, 0]])
WEIGHTS = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.6, 0.4]])


def test_choices_are_counted_and_shared_out() -> None:
    assert count_decisions(EXPERTS, 4).tolist() == [3, 2, 1, 0]
    expected = torch.tensor([3.0, 2, 1, 0]) / 6
    torch.testing.assert_close(share_of_choices(EXPERTS, 4), expected)
    assert share_of_choices(EXPERTS[:0], 4).tolist() == [0] * 4


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([2.0, 2, 2, 2], 0), ([4.0, 0, 0, 0], 3), ([1.0, 3], 1 / 4), ([0.0, 0, 3, 3], 1)],
)
def test_squared_variation_by_hand(amounts: list[float], expected: float) -> None:
    assert float(squared_variation(torch.tensor(amounts))) == pytest.approx(expected)


@given(
    st.lists(st.floats(0.1, 9), min_size=2, max_size=8),
    st.floats(0.5, 100),
)
def test_squared_variation_is_of_shares_not_of_amounts(amounts: list[float], scale: float) -> None:
    found = torch.tensor(amounts, dtype=torch.float64)
    expected = float(found.var(correction=0) / found.mean() ** 2)
    assert float(squared_variation(found)) == pytest.approx(expected, abs=1e-12)
    assert float(squared_variation(scale * found)) == pytest.approx(expected, abs=1e-12)


def test_importance_loss_by_hand() -> None:
    # Summed weights 0.75 + 0.5 + 0.4, 0.25 + 0.6, 0.5, 0; their mean is 3 / 4.
    weights = WEIGHTS.clone().requires_grad_()
    loss = importance_loss(EXPERTS, weights, 4)
    squares = 0.9**2 + 0.1**2 + 0.25**2 + 0.75**2
    assert float(loss.detach()) == pytest.approx(squares / 4 / 0.75**2)
    (gradient,) = torch.autograd.grad(loss, weights)
    # Less weight for an expert that has much makes the loss smaller.
    assert gradient[0, 0] > gradient[0, 1] > gradient[1, 1]


def test_mean_probability_by_hand() -> None:
    softmax = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    expected = torch.tensor([0.3, 0.175, 0.525])
    torch.testing.assert_close(mean_probability(softmax), expected)
    # Sigmoids count by their shares: 1/2, 1/4, 1/4 and 0, 1/3, 2/3.
    sigmoids = torch.tensor([[0.8, 0.4, 0.4], [0.0, 0.3, 0.6]])
    torch.testing.assert_close(mean_probability(sigmoids), torch.tensor([3.0, 3.5, 5.5]) / 12)
    assert mean_probability(softmax[:0]).tolist() == [0] * 3


def test_switch_loss_by_hand() -> None:
    mean = torch.tensor([0.6, 0.4], requires_grad=True)
    share = torch.tensor([0.75, 0.25])
    loss = switch_loss(mean, share)
    assert float(loss.detach()) == pytest.approx(2 * (0.75 * 0.6 + 0.25 * 0.4))
    (gradient,) = torch.autograd.grad(loss, mean)
    torch.testing.assert_close(gradient, 2 * share)


@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=8))
def test_switch_loss_is_least_and_1_when_balanced(amounts: list[float]) -> None:
    experts = len(amounts)
    uniform = torch.full((experts,), 1 / experts, dtype=torch.float64)
    assert float(switch_loss(uniform, uniform)) == pytest.approx(1)
    # Choices follow probabilities; E sum p^2 is 1 plus the squared variation.
    uneven = torch.tensor(amounts, dtype=torch.float64)
    uneven = uneven / uneven.sum()
    expected = 1 + float(squared_variation(uneven))
    assert float(switch_loss(uneven, uneven)) == pytest.approx(expected)
    certain = torch.eye(experts, dtype=torch.float64)[0]
    assert float(switch_loss(certain, certain)) == experts


def test_z_loss_by_hand() -> None:
    scores = torch.tensor([[0.0, 0, 0, 0], [1.0, 1, 1, 1]], requires_grad=True)
    loss = z_loss(scores)
    assert float(loss.detach()) == pytest.approx((math.log(4) ** 2 + (1 + math.log(4)) ** 2) / 2)
    (gradient,) = torch.autograd.grad(loss, scores)
    # d/ds_j of z^2 / 2 rows is z times the probability, which is 1/4.
    expected = torch.tensor([math.log(4), 1 + math.log(4)])[:, None] / 4
    torch.testing.assert_close(gradient, expected.expand(2, 4))


def test_z_loss_of_half_precision_is_computed_in_float32() -> None:
    scores = torch.linspace(-3, 9, 24).reshape(4, 6).bfloat16()
    found = z_loss(scores)
    assert found.dtype == torch.float32
    assert float(found) == float(z_loss(scores.float()))


def test_a_bias_goes_against_the_sign_of_the_difference_from_the_mean() -> None:
    bias = SelectionBias(4, rate=0.25, every=1)
    assert bias.bias.tolist() == [0] * 4
    bias.count(torch.tensor([5, 3, 3, 1]))
    assert bias.bias.tolist() == [-0.25, 0, 0, 0.25]
    # How far off an expert is does not matter, only to which side.
    bias.count(torch.tensor([97, 1, 1, 1]))
    assert bias.bias.tolist() == [-0.5, 0.25, 0.25, 0.5]


def test_a_bias_changes_after_a_number_of_steps() -> None:
    bias = SelectionBias(2, rate=0.5, every=3)
    # Expert 1 leads in two steps of three, and yet expert 0 in their sum.
    for counts in ([1, 2], [1, 2], [9, 0]):
        assert bias.bias.tolist() == [0, 0]
        bias.count(torch.tensor(counts))
    assert bias.bias.tolist() == [-0.5, 0.5]
    # What was counted then is gone: another three steps, and these alone.
    for _ in range(2):
        bias.count(torch.tensor([0, 1]))
        assert bias.bias.tolist() == [-0.5, 0.5]
    bias.count(torch.tensor([0, 1]))
    assert bias.bias.tolist() == [0, 0]


def test_a_bias_that_forgets_begins_to_count_anew() -> None:
    bias = SelectionBias(2, rate=0.5, every=2)
    bias.count(torch.tensor([9, 0]))
    bias.reset_counts()
    bias.count(torch.tensor([0, 1]))
    assert bias.bias.tolist() == [0, 0]
    bias.count(torch.tensor([0, 1]))
    assert bias.bias.tolist() == [0.5, -0.5]


def test_biases_are_kept_with_the_weights_and_counts_are_not() -> None:
    bias = SelectionBias(3, rate=0.5, every=1)
    bias.count(torch.tensor([2, 0, 1]))
    assert list(bias.state_dict()) == ["bias"]
    assert not list(bias.parameters())
    again = SelectionBias(3, rate=0.5, every=1)
    again.load_state_dict(bias.state_dict())
    assert again.bias.tolist() == [-0.5, 0.5, 0]


def test_experts_that_are_held_back_keep_their_bias_and_do_not_move_the_mean() -> None:
    """They are not selected because they are still being introduced, not because they are bad."""
    bias = SelectionBias(4, rate=0.1, every=1)
    bias.bias[3] = 0.5
    # Among the three that are in the mean is 20; with the fourth it would be 15.
    bias.count(torch.tensor([18.0, 24.0, 18.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 30.0]))
    assert bias.bias.tolist() == pytest.approx([0.1, -0.1, 0.1, 0.5])
