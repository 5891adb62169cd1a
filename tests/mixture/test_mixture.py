from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phoneme_moe import mixture as exported
from phoneme_moe.errors import InputError
from phoneme_moe.mixture import (
    ExpertChoice,
    ExpertFeedForward,
    Experts,
    FeedForward,
    FunctionNetwork,
    Gate,
    HashScores,
    LinearScores,
    MixtureOfExperts,
    RoutingOverride,
    SoftFeedForward,
    SparseFeedForward,
    StackTDNN,
    TokenChoice,
    TreeChoice,
    mix,
)

CASES, FEATURES, OUTPUTS, EXPERTS = 7, 5, 3, 4


def rows(seed: int = 0, cases: int = CASES, features: int = FEATURES) -> Tensor:
    return torch.randn(cases, features, generator=torch.Generator().manual_seed(seed))


def mixture_of(outputs: Any = "log_posteriors", **settings: Any) -> MixtureOfExperts:
    torch.manual_seed(0)
    experts = Experts(FeedForward(EXPERTS, FEATURES, OUTPUTS, hidden=[6]), outputs=outputs)
    return MixtureOfExperts(experts, Gate(FeedForward(1, FEATURES, EXPERTS)), **settings)


def by_hand(mixture: MixtureOfExperts, features: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of every expert, (cases, experts, outputs), and the gate's, (cases, experts)."""
    first, last = mixture.experts.network.layers
    hidden = (torch.einsum("cf,efh->ech", features, first.weight) + first.bias).relu()
    scores = torch.einsum("ech,eho->ceo", hidden, last.weight) + last.bias.transpose(0, 1)
    (gate,) = mixture.gate.network.layers
    return scores, features @ gate.weight[0] + gate.bias[0]


def test_a_mixture_is_the_sum_of_its_experts_posteriors_by_the_gates_softmax() -> None:
    mixture, features = mixture_of(), rows()
    scores, gate = by_hand(mixture, features)
    expected = (gate.softmax(-1)[..., None] * scores.softmax(-1)).sum(dim=1)
    output = mixture(features)
    torch.testing.assert_close(output.outputs.exp(), expected)
    torch.testing.assert_close(output.routing.weights, gate.softmax(-1))
    torch.testing.assert_close(output.expert_outputs.exp(), scores.softmax(-1))


@pytest.mark.parametrize("rule", ["weighted_sum", "maximum"])
def test_experts_of_values_are_blended_as_they_are(rule: Any) -> None:
    mixture, features = mixture_of("values", combination=rule), rows()
    scores, gate = by_hand(mixture, features)
    weights = gate.softmax(-1)
    if rule == "maximum":
        weights = nn.functional.one_hot(weights.argmax(-1), EXPERTS).float()
    expected = (weights[..., None] * scores).sum(dim=1)
    torch.testing.assert_close(mixture(features).outputs, expected)


@pytest.mark.parametrize("rule", ["product", "vote", "mean"])
def test_values_have_no_product_and_no_vote(rule: Any) -> None:
    with pytest.raises(InputError, match=f"combination: found '{rule}', expected weighted_sum or"):
        mixture_of("values", combination=rule)(rows())


@pytest.mark.parametrize("rule", ["weighted_sum", "product", "maximum", "vote"])
def test_rows_are_utterances_of_one_frame(rule: Any) -> None:
    mixture, features = mixture_of(combination=rule), rows()
    frames = mixture(features[:, None], torch.ones(CASES, 1, dtype=torch.bool))
    output = mixture(features)
    assert output.outputs.shape == (CASES, OUTPUTS)
    assert torch.equal(output.outputs, frames.outputs[:, 0])
    assert output.expert_outputs.shape == (CASES, EXPERTS, OUTPUTS)
    assert output.routing.weights.shape == (CASES, EXPERTS)
    assert output.routing.mask.shape == (CASES,)
    torch.testing.assert_close(output.routing.mean_weights(), output.routing.weights.mean(dim=0))


def test_rows_are_no_neighbours_even_of_a_network_that_joins_frames() -> None:
    torch.manual_seed(0)
    experts = Experts(StackTDNN(EXPERTS, FEATURES, OUTPUTS, width=8))
    gate = Gate(StackTDNN(1, FEATURES, EXPERTS, width=8), "sigmoid")
    mixture, features = MixtureOfExperts(experts, gate), rows()
    order = torch.randperm(CASES)
    torch.testing.assert_close(mixture(features[order]).outputs, mixture(features).outputs[order])


def test_utterances_without_a_mask_are_all_real() -> None:
    mixture = mixture_of()
    frames = rows(cases=6).reshape(2, 3, FEATURES)
    masked = mixture(frames, torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(mixture(frames).outputs, masked.outputs)
    assert torch.equal(mixture(frames).routing.mask, masked.routing.mask)


@pytest.mark.parametrize("with_time", [False, True])
def test_a_given_expert_is_the_only_one(with_time: bool) -> None:
    mixture = mixture_of()
    features = rows()[:, None] if with_time else rows()
    expert = torch.arange(CASES) % EXPERTS
    output = mixture(features, expert=expert)
    everyone = mixture(features).expert_outputs
    expected = torch.stack([everyone[case, ..., expert[case], :] for case in range(CASES)])
    torch.testing.assert_close(output.outputs, expected)
    assert output.expert_outputs is None
    assert torch.equal(output.routing.weights.argmax(-1).flatten(), expert)
    override = RoutingOverride(EXPERTS, only=(2,))
    torch.testing.assert_close(mixture(features, override=override).outputs, everyone[..., 2, :])


def test_an_override_excludes_an_expert_and_its_weight_goes_to_the_others() -> None:
    mixture, features = mixture_of(), rows()
    output = mixture(features, override=RoutingOverride(EXPERTS, without=(1,)))
    weights = mixture(features).routing.weights
    weights[:, 1] = 0
    torch.testing.assert_close(output.routing.weights, weights / weights.sum(-1, keepdim=True))


def test_without_a_gate_the_expert_must_be_given() -> None:
    with pytest.raises(InputError, match="gate: found none; expected a gate, or the expert"):
        mix(mixture_of().experts, None, rows())


def test_functions_are_experts_and_gates_of_rows() -> None:
    def louder(features: Tensor, mask: Tensor) -> Tensor:
        return features[..., :2]

    experts = Experts(FeedForward(1, FEATURES, 2), functions=[FunctionNetwork(louder, 2)])
    mixture = MixtureOfExperts(experts, Gate(FunctionNetwork(louder, 2)))
    features = rows()
    output = mixture(features)
    torch.testing.assert_close(output.routing.weights, features[:, :2].softmax(-1))
    torch.testing.assert_close(output.expert_outputs[:, 1].exp(), features[:, :2].softmax(-1))


LAYERS: dict[str, Callable[[ExpertFeedForward], nn.Module]] = {
    "top_2": lambda experts: SparseFeedForward(experts, TokenChoice(LinearScores(8, 6), 2)),
    "hash": lambda experts: SparseFeedForward(experts, TokenChoice(HashScores(8, 6), 1)),
    "tree": lambda experts: SparseFeedForward(experts, TreeChoice(8, [3, 2], 2)),
    "shared": lambda experts: SparseFeedForward(
        experts, TokenChoice(LinearScores(8, 6), 1), shared=nn.Linear(8, 8)
    ),
    "soft": lambda experts: SoftFeedForward(experts, slots=2, window=1),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_go_through_a_sparse_layer_as_utterances_of_one_frame(kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind](ExpertFeedForward(6, 8, 10))
    cases = rows(cases=CASES, features=8)
    output, routing = layer(cases)
    frames, expected = layer(cases[:, None], torch.ones(CASES, 1, dtype=torch.bool))
    assert torch.equal(output, frames[:, 0])
    assert routing.routing().weights.shape == (CASES, 6)
    assert torch.equal(routing.routing().weights, expected.routing().weights[:, 0])
    assert routing.layer == "experts"


def test_a_soft_layer_treats_every_row_alone_whatever_its_window() -> None:
    torch.manual_seed(0)
    layer = SoftFeedForward(ExpertFeedForward(6, 8, 10), slots=2, window=5)
    cases = rows(features=8)
    order = torch.randperm(CASES)
    torch.testing.assert_close(layer(cases[order])[0], layer(cases)[0][order])


def test_experts_choose_among_all_rows_as_among_the_frames_of_an_utterance() -> None:
    torch.manual_seed(0)
    router = ExpertChoice(LinearScores(8, 6), experts_per_frame=1.5)
    layer = SparseFeedForward(ExpertFeedForward(6, 8, 10), router)
    cases = rows(cases=12, features=8)
    output, routing = layer(cases)
    assert routing.counts.tolist() == [3] * 6  # 12 rows * 1.5 / 6 experts
    assert routing.routing().weights.shape == (12, 6)
    assert torch.equal(output, layer(cases[None])[0][0])


def test_a_router_for_another_number_of_experts_is_refused() -> None:
    with pytest.raises(ValueError, match="router: found 5 experts, expected 6"):
        SparseFeedForward(ExpertFeedForward(6, 8, 10), TokenChoice(LinearScores(8, 5), 2))


@pytest.mark.slow
def test_all_names_are_there_and_nothing_of_speech_is_imported_with_them() -> None:
    assert all(hasattr(exported, name) for name in exported.__all__)
    program = (
        "import sys, phoneme_moe.mixture; "
        "print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('phoneme_moe.')}))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # Of system, sums over processes that train together.
    assert outcome.stdout.split() == ["errors", "mixture", "system"]
