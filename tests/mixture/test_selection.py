from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phoneme_moe.mixture.sparse.selection import (
    Score,
    Weighting,
    choose_frames,
    expected_load,
    gaussian_noise,
    gumbel_noise,
    position_in_expert,
    selection_weights,
    sinkhorn,
    straight_through,
    to_probabilities,
    top_indices,
)

# Odds of 1 : 2 : 5, so that probabilities are eighths and sigmoids are 1/2, 2/3 and 5/6.
SCORES = torch.tensor([[1.0, 2.0, 5.0]]).log()
BEST_TWO = torch.tensor([[2, 1]])
LN2 = math.log(2)


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def random_scores(decisions: int, experts: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(decisions, experts, generator=generator)


def test_probabilities_are_a_softmax_or_independent_sigmoids() -> None:
    shares = torch.tensor([[1 / 8, 2 / 8, 5 / 8]])
    sigmoids = torch.tensor([[1 / 2, 2 / 3, 5 / 6]])
    torch.testing.assert_close(to_probabilities(SCORES, "softmax"), shares)
    torch.testing.assert_close(to_probabilities(SCORES, "sigmoid"), sigmoids)


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_probabilities_are_float32_whatever_the_scores(score: Score) -> None:
    half = random_scores(4, 5).bfloat16()
    found = to_probabilities(half, score)
    assert found.dtype == torch.float32
    assert torch.equal(found, to_probabilities(half.float(), score))


@pytest.mark.parametrize(
    ("score", "weighting", "expected"),
    [
        ("softmax", "before", [5 / 8, 2 / 8]),
        ("softmax", "after", [5 / 7, 2 / 7]),
        ("sigmoid", "before", [5 / 6, 2 / 3]),
        ("sigmoid", "after", [5 / 9, 4 / 9]),
    ],
)
def test_softmax_before_and_after_selection_are_different_models(
    score: Score, weighting: Weighting, expected: list[float]
) -> None:
    found = selection_weights(SCORES, to_probabilities(SCORES, score), BEST_TWO, score, weighting)
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_a_single_expert_learns_only_if_it_is_weighed_before_selection() -> None:
    gradients = {}
    for weighting in ("before", "after"):
        scores = SCORES.clone().requires_grad_()
        weights = selection_weights(
            scores, to_probabilities(scores, "softmax"), BEST_TWO[:, :1], "softmax", weighting
        )
        (gradients[weighting],) = torch.autograd.grad(weights.sum(), scores)
    # d p_j / d s_i = p_j (1[i = j] - p_i), with p = 1/8, 2/8, 5/8.
    expected = torch.tensor([[-5 / 64, -10 / 64, 15 / 64]])
    torch.testing.assert_close(gradients["before"], expected)
    torch.testing.assert_close(gradients["after"], torch.zeros(1, 3))


def test_sigmoids_of_unlikely_experts_have_finite_shares() -> None:
    scores = torch.full((1, 3), -200.0, requires_grad=True)
    weights = selection_weights(
        scores, to_probabilities(scores, "sigmoid"), BEST_TWO, "sigmoid", "after"
    )
    (gradient,) = torch.autograd.grad(weights.sum(), scores)
    assert weights.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("chosen", [1, 2, 3])
def test_straight_through_counts_alike_forward_and_learns_like_the_weights(chosen: int) -> None:
    direction = random_scores(4, chosen, seed=1)
    gradients = []
    for hard in (True, False):
        scores = random_scores(4, 5).requires_grad_()
        experts = scores.topk(chosen, dim=-1).indices
        weights = selection_weights(
            scores, to_probabilities(scores, "softmax"), experts, "softmax", "before"
        )
        if hard:
            weights = straight_through(weights)
            torch.testing.assert_close(weights, torch.full((4, chosen), 1 / chosen))
        gradients += torch.autograd.grad((weights * direction).sum(), scores)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0.01


def test_gaussian_noise_has_the_spread_that_was_learned() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([0.5, -1.0, 2.0])
    # softplus(0) = ln 2, softplus(ln(e^3 - 1)) = 3; far below 0 there is no noise.
    spread = torch.tensor([0.0, math.log(math.exp(3) - 1), -100.0])
    noisy = gaussian_noise(scores.expand(20_000, 3), spread.expand(20_000, 3))
    torch.testing.assert_close(noisy.mean(dim=0), scores, atol=0.08, rtol=0)
    torch.testing.assert_close(noisy.std(dim=0), torch.tensor([LN2, 3, 0]), atol=0.06, rtol=0)
    assert torch.equal(noisy[:, 2], scores[2].expand(20_000))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_best_with_gumbel_noise_is_a_draw_from_the_softmax(scale: float) -> None:
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 0.5, 1.5, -1.0])
    drawn = gumbel_noise(scores.expand(20_000, 4), scale).argmax(dim=-1)
    found = torch.bincount(drawn, minlength=4) / 20_000
    # Four standard deviations of a share at most: 4 * sqrt(0.25 / 20,000).
    torch.testing.assert_close(found, (scores / scale).softmax(dim=0), atol=0.0142, rtol=0)


def test_expected_load_by_hand() -> None:
    scores = torch.tensor([[1.0, 0.0, -1.0]])
    noisy = torch.tensor([[1.5, 0.4, -0.3]])
    spread = torch.tensor([[0.0, 0.0, math.log(math.e - 1)]])  # ln 2, ln 2 and 1
    one = [normal_cdf((1 - 0.4) / LN2), normal_cdf((0 - 1.5) / LN2), normal_cdf(-1 - 1.5)]
    two = [normal_cdf((1 + 0.3) / LN2), normal_cdf((0 + 0.3) / LN2), normal_cdf(-1 - 0.4)]
    for top_k, expected in ((1, one), (2, two)):
        found = expected_load(scores, noisy, spread, top_k)
        torch.testing.assert_close(found, torch.tensor(expected))
    twice = expected_load(*(value.expand(2, 3) for value in (scores, noisy, spread)), 2)
    torch.testing.assert_close(twice, 2 * torch.tensor(two))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_expected_load_is_how_often_an_expert_is_selected_when_its_noise_is_drawn_again(
    top_k: int,
) -> None:
    torch.manual_seed(0)
    decisions, experts, draws = 6, 5, 4000
    scores, spread = random_scores(decisions, experts), random_scores(decisions, experts, seed=1)
    noisy = gaussian_noise(scores, spread)
    found = expected_load(scores, noisy, spread, top_k)
    for expert in range(experts):
        again = noisy.repeat(draws, 1, 1)
        many = (draws, decisions)
        again[..., expert] = gaussian_noise(
            scores[:, expert].expand(many), spread[:, expert].expand(many)
        )
        chosen = (again.topk(top_k, dim=-1).indices == expert).any(dim=-1)
        # Four standard deviations of a sum of six shares: 4 * sqrt(6 * 0.25 / 4,000).
        assert abs(float(chosen.float().mean(dim=0).sum() - found[expert])) < 0.078


def test_expected_load_grows_with_an_experts_scores_where_the_count_has_no_gradient() -> None:
    scores = random_scores(6, 4).requires_grad_()
    spread = torch.zeros(6, 4)
    load = expected_load(scores, random_scores(6, 4, seed=1), spread, 2)
    for expert in range(4):
        (gradient,) = torch.autograd.grad(load[expert], scores, retain_graph=True)
        assert (gradient[:, expert] > 0).all()
        assert gradient.count_nonzero() == 6


def test_transport_by_hand() -> None:
    # [[4, 1], [1, 1]]: scaled to sums of 1 it is [[x, 1 - x], [1 - x, x]], and scaling keeps
    # the ratio x^2 / (1 - x)^2 = 4 * 1 / (1 * 1), so x = 2/3.
    plan = sinkhorn(torch.tensor([[4.0, 1.0], [1.0, 1.0]]).log())
    expected = torch.tensor([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    torch.testing.assert_close(plan.exp(), expected, atol=1e-4, rtol=0)


@given(decisions=st.integers(1, 40), experts=st.integers(1, 8), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_transport_scales_rows_and_columns_until_experts_are_wanted_alike(
    decisions: int, experts: int, seed: int
) -> None:
    # One expert is wanted by all.
    scores = random_scores(decisions, experts, seed) + 3 * torch.eye(experts)[0]
    plan = sinkhorn(scores)
    torch.testing.assert_close(plan.exp().sum(dim=1), torch.ones(decisions))
    each = torch.full((experts,), decisions / experts)
    torch.testing.assert_close(plan.exp().sum(dim=0), each, rtol=0.1, atol=0)
    many = sinkhorn(scores, iterations=100)
    torch.testing.assert_close(many.exp().sum(dim=0), each, rtol=1e-3, atol=0)
    # What is left after rows and columns are scaled is the scores but for row and column terms.
    change = plan - scores
    terms = change[:, :1] + change[:1] - change[0, 0]
    torch.testing.assert_close(change, terms, atol=1e-4, rtol=0)


def test_transport_has_no_gradient() -> None:
    scores = random_scores(4, 3).requires_grad_()
    assert not sinkhorn(scores).requires_grad


def chosen_by_loop(
    probabilities: Tensor, lengths: list[int], per_frame: int
) -> set[tuple[int, int]]:
    """Expert choice frame by frame: pairs of frame and expert."""
    num_experts = probabilities.shape[1]
    pairs = set()
    start = 0
    for length in lengths:
        frames = range(start, start + length)
        most = math.ceil(Fraction(per_frame * length, num_experts))
        for expert in range(num_experts):
            liked = sorted(frames, key=lambda t: -float(probabilities[t, expert]))
            pairs |= {(frame, expert) for frame in liked[:most]}
        start += length
    return pairs


def choose(
    probabilities: Tensor, lengths: list[int], per_frame: float
) -> tuple[list[int], list[int]]:
    numbers = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    frames, experts = choose_frames(probabilities, numbers, len(lengths), per_frame)
    return frames.tolist(), experts.tolist()


def test_experts_choose_frames_by_hand() -> None:
    # Utterances of 3 and 2 frames, 2 experts, 1 for a frame: ceil(3 / 2) = 2 and 1 for each.
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.45, 0.55]])
    frames, experts = choose(probabilities, [3, 2], 1)
    assert set(zip(frames, experts, strict=True)) == {
        (0, 0), (2, 0), (1, 1), (2, 1),
        (4, 0), (3, 1),
    }  # fmt: skip
    assert len(frames) == 6


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    experts=st.integers(1, 6),
    data=st.data(),
)
@settings(max_examples=60)
def test_experts_choose_frames_of_ragged_utterances_as_a_loop_does(
    lengths: list[int], experts: int, data: st.DataObject
) -> None:
    per_frame = data.draw(st.integers(1, experts))
    scores = random_scores(sum(lengths), experts, data.draw(st.integers(0, 999)))
    probabilities = scores.softmax(dim=-1)
    frames, chosen = choose(probabilities, lengths, per_frame)
    pairs = list(zip(frames, chosen, strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == chosen_by_loop(probabilities, lengths, per_frame)


@pytest.mark.parametrize(
    ("length", "experts", "per_frame"),
    [(24, 8, 2), (25, 8, 2), (25, 5, 3), (21, 7, 2), (50, 10, 3), (42, 14, 1), (1, 64, 4)],
)
def test_an_expert_takes_the_ceiling_of_its_exact_share(
    length: int, experts: int, per_frame: int
) -> None:
    _, chosen = choose(random_scores(length, experts).softmax(dim=-1), [length], per_frame)
    each = -(-length * per_frame // experts)
    assert torch.bincount(torch.tensor(chosen)).tolist() == [each] * experts


@given(st.lists(st.integers(0, 4), max_size=30))
def test_position_in_expert_counts_earlier_entries_of_the_expert(experts: list[int]) -> None:
    expected = [experts[:i].count(expert) for i, expert in enumerate(experts)]
    assert position_in_expert(torch.tensor(experts, dtype=torch.long), 5).tolist() == expected


@pytest.mark.parametrize("columns", [2, 5, 128, 129, 300])
@pytest.mark.parametrize("count", [1, 2])
def test_the_greatest_are_those_that_sorting_finds(columns: int, count: int) -> None:
    values = torch.rand(50, columns, generator=torch.Generator().manual_seed(columns))
    assert torch.equal(top_indices(values, count), values.topk(count, dim=-1).indices)
    values[:, 0] = -torch.inf  # as experts that may not be selected
    assert torch.equal(top_indices(values[:, :2], 2)[:, 0], torch.ones(50, dtype=torch.long))
