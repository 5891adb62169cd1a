from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.mixture.combination import blend_experts
from phoneme_moe.mixture.routing import dense_routing, fixed_routing, imbalance, normalized_routing


def random_mixture(
    batch: int = 3, frames: int = 5, experts: int = 4, outputs: int = 6, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    gate = torch.randn(batch, frames, experts, generator=generator).log_softmax(-1)
    posteriors = torch.randn(batch, frames, experts, outputs, generator=generator)
    return gate, (3 * posteriors).log_softmax(-1)


def everywhere(log_probabilities: torch.Tensor) -> torch.Tensor:
    return torch.ones(log_probabilities.shape[:2], dtype=torch.bool)


@given(experts=st.integers(1, 6), outputs=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_a_mixture_is_the_weighted_sum_of_probabilities(
    experts: int, outputs: int, seed: int
) -> None:
    gate, posteriors = random_mixture(experts=experts, outputs=outputs, seed=seed)
    found = blend_experts(dense_routing(gate, everywhere(gate)), posteriors)
    weights = np.exp(gate.double().numpy())
    expected = np.einsum("bte,btep->btp", weights, np.exp(posteriors.double().numpy()))
    np.testing.assert_allclose(found.exp().numpy(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 5), atol=1e-5, rtol=0)


def test_one_expert_is_the_plain_model() -> None:
    _, posteriors = random_mixture(experts=1)
    certain = torch.zeros(3, 5, 1)
    found = blend_experts(dense_routing(certain, everywhere(certain)), posteriors)
    assert torch.equal(found, posteriors[:, :, 0])


def test_a_certain_gate_is_that_expert() -> None:
    _, posteriors = random_mixture()
    expert = torch.tensor([2, 0, 3])
    mask = torch.ones(3, 5, dtype=torch.bool)
    found = blend_experts(fixed_routing(expert, 4, mask), posteriors)
    assert torch.equal(found, posteriors[torch.arange(3), :, expert])


def test_experts_that_agree_make_the_gate_moot() -> None:
    gate, posteriors = random_mixture()
    same = posteriors[:, :, :1].expand_as(posteriors)
    found = blend_experts(dense_routing(gate, everywhere(gate)), same)
    torch.testing.assert_close(found, same[:, :, 0], atol=1e-5, rtol=0)


def test_permuting_experts_with_their_weights_changes_nothing() -> None:
    gate, posteriors = random_mixture()
    order = torch.tensor([2, 3, 0, 1])
    found = blend_experts(
        dense_routing(gate[..., order], everywhere(gate)), posteriors[:, :, order]
    )
    expected = blend_experts(dense_routing(gate, everywhere(gate)), posteriors)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_half_precision_is_combined_in_float32() -> None:
    gate, posteriors = random_mixture()
    rounded = [value.bfloat16() for value in (gate, posteriors)]
    found = blend_experts(dense_routing(rounded[0], everywhere(gate)), rounded[1])
    expected = blend_experts(
        dense_routing(rounded[0].float(), everywhere(gate)), rounded[1].float()
    )
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_mean_weights_leave_padding_out() -> None:
    gate, _ = random_mixture()
    mask = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    expected = torch.stack([gate[0, t] for t in range(5)] + [gate[1, 0], gate[1, 1], gate[2, 0]])
    found = dense_routing(gate, mask).mean_weights()
    torch.testing.assert_close(found, expected.exp().mean(dim=0))
    spoilt = torch.where(mask[..., None], gate, torch.full_like(gate, 7.0))
    assert torch.equal(dense_routing(spoilt, mask).mean_weights(), found)


def test_fixed_routing_gives_one_expert_everything() -> None:
    mask = torch.arange(4) < torch.tensor([4, 2])[:, None]
    routing = fixed_routing(torch.tensor([1, 0]), 3, mask)
    expected = torch.tensor([[0.0, 1, 0], [1, 0, 0]])[:, None].expand(2, 4, 3)
    assert torch.equal(routing.weights, expected)
    assert torch.equal(routing.probabilities, expected)
    torch.testing.assert_close(routing.mean_weights(), torch.tensor([1 / 3, 2 / 3, 0]))


def test_gradients_stay_finite_where_an_expert_is_left_out() -> None:
    _, posteriors = random_mixture()
    scores = posteriors.clone().requires_grad_()
    expert = torch.tensor([2, 0, 3])
    mask = torch.ones(3, 5, dtype=torch.bool)
    blend_experts(fixed_routing(expert, 4, mask), scores.log_softmax(-1))[..., 0].sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    for row, chosen in enumerate(expert.tolist()):
        for index in range(4):
            assert bool(scores.grad[row, :, index].any()) == (index == chosen)


def test_the_gate_learns_from_the_blend_towards_the_better_expert() -> None:
    gate = torch.zeros(1, 1, 2, requires_grad=True)
    posteriors = torch.tensor([[[[0.9, 0.1], [0.2, 0.8]]]]).log()
    routing = dense_routing(gate.log_softmax(-1), torch.ones(1, 1, dtype=torch.bool))
    blend_experts(routing, posteriors)[..., 0].sum().backward()
    assert gate.grad is not None
    # d log(sum_e w_e p_e) / d score_e = posterior share of e less its weight.
    expected = torch.tensor([0.45 / 0.55 - 0.5, 0.1 / 0.55 - 0.5])
    torch.testing.assert_close(gate.grad[0, 0], expected)


def test_imbalance_is_the_squared_variation_of_the_load_over_real_frames() -> None:
    gate, _ = random_mixture(experts=4)
    mask = torch.arange(5) < torch.tensor([[5], [2], [3]])
    load = gate.exp()[mask].mean(dim=0).double().numpy()
    found = imbalance(dense_routing(gate, mask))
    np.testing.assert_allclose(float(found), np.var(load) / np.mean(load) ** 2, rtol=1e-4)


def test_imbalance_runs_from_equal_shares_to_one_expert_with_everything() -> None:
    equal = torch.full((2, 3, 4), 0.25).log()
    assert abs(float(imbalance(dense_routing(equal, everywhere(equal))))) < 1e-6
    certain = torch.tensor([1.0, 0, 0, 0]).log().expand(2, 3, 4)
    assert abs(float(imbalance(dense_routing(certain, everywhere(certain)))) - 3) < 1e-6


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_normalising_strengths_is_normalising_their_blend(seed: int) -> None:
    scores, posteriors = random_mixture(seed=seed)
    strengths = torch.nn.functional.logsigmoid(3 * scores)
    routing = normalized_routing(strengths, everywhere(strengths))
    assert torch.equal(routing.log_probabilities, strengths)
    blend = np.einsum("bte,btep->btp", strengths.exp().numpy(), posteriors.exp().numpy())
    expected = blend / blend.sum(axis=-1, keepdims=True)
    found = blend_experts(routing, posteriors).exp().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
