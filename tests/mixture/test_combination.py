from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from phoneme_moe import recipe
from phoneme_moe.errors import InputError
from phoneme_moe.mixture import combination
from phoneme_moe.mixture.combination import (
    Combination,
    combine,
    majority_vote,
    product_of_experts,
    strongest,
    weighted_sum,
)
from phoneme_moe.mixture.routing import dense_routing

RULES = (product_of_experts, strongest, majority_vote)


def panel(seed: int = 0, experts: int = 4, outputs: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, experts, generator=generator).log_softmax(-1)
    return weights, torch.randn(2, experts, outputs, generator=generator).log_softmax(-1)


def test_rules_worked_by_hand() -> None:
    weights = torch.tensor([0.5, 0.3, 0.2]).log()
    posteriors = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]]).log()
    blend = weighted_sum(weights, posteriors.exp())
    assert blend.tolist() == pytest.approx([0.37, 0.63])
    assert strongest(weights, posteriors).exp().tolist() == pytest.approx([0.6, 0.4])
    votes = majority_vote(torch.zeros(3), posteriors).exp()
    assert votes.tolist() == pytest.approx([1 / 3, 2 / 3])
    # A vote by weight: the first expert alone is half.
    assert majority_vote(weights, posteriors).exp().tolist() == pytest.approx([0.5, 0.5])
    raw = [0.6**0.5 * 0.1**0.3 * 0.2**0.2, 0.4**0.5 * 0.9**0.3 * 0.8**0.2]
    product = product_of_experts(weights, posteriors).exp()
    assert product.tolist() == pytest.approx([r / sum(raw) for r in raw])


def test_a_certain_expert_vetoes_in_a_product_and_not_in_a_sum() -> None:
    weights = torch.tensor([0.5, 0.5]).log()
    posteriors = torch.tensor([[0.999999, 0.000001], [0.4, 0.6]]).log()
    assert product_of_experts(weights, posteriors).exp()[1] < 0.01
    assert weighted_sum(weights, posteriors.exp())[1] > 0.29


@given(st.integers(0, 10_000))
def test_every_rule_gives_a_distribution_and_forgets_the_order_of_experts(seed: int) -> None:
    weights, posteriors = panel(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    for rule in RULES:
        found = rule(weights, posteriors)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(2))
        torch.testing.assert_close(rule(weights[:, order], posteriors[:, order]), found)


@given(st.integers(0, 10_000))
def test_one_expert_is_itself_by_sum_product_and_maximum(seed: int) -> None:
    _, posteriors = panel(seed, experts=1)
    alone = torch.zeros(2, 1)
    for rule in (combination.product_of_experts, combination.strongest):
        torch.testing.assert_close(rule(alone, posteriors), posteriors[:, 0])
    torch.testing.assert_close(weighted_sum(alone, posteriors), posteriors[:, 0])


def test_experts_that_agree_are_what_each_of_them_is() -> None:
    weights, posteriors = panel()
    same = posteriors[:, :1].expand(-1, 4, -1)
    for rule in (product_of_experts, strongest):
        torch.testing.assert_close(rule(weights, same), posteriors[:, 0])


def test_a_recipe_may_name_every_rule_and_no_other() -> None:
    weights, posteriors = panel()
    routing = dense_routing(weights[:, None], torch.ones(2, 1, dtype=torch.bool))
    assert get_args(Combination) == get_args(recipe.model.Combination)
    found = [combine(rule, routing, posteriors[:, None]) for rule in get_args(Combination)]
    for index, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[:index])


def test_a_rule_that_does_not_exist_is_refused() -> None:
    weights, posteriors = panel()
    routing = dense_routing(weights[:, None], torch.ones(2, 1, dtype=torch.bool))
    # The type refuses these names too; a recipe's text reaches the function unchecked.
    with pytest.raises(InputError, match=r"'weighted_summ' \(did you mean 'weighted_sum'\?\)"):
        combine("weighted_summ", routing, posteriors[:, None])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"known: maximum, product, vote, weighted_sum"):
        combine("zz", routing, posteriors[:, None])  # type: ignore[arg-type]
