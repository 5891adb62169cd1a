from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.sparse.balance import (
    SelectionBias,
    importance_loss,
    squared_variation,
    switch_loss,
    z_loss,
)
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import ExpertChoice, Router, TokenChoice
from phoneme_moe.mixture.sparse.scores import (
    ContextWindow,
    GivenScores,
    HashScores,
    LinearScores,
    mean_over_frames,
)
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice

WIDTH, HIDDEN, EXPERTS = 8, 12, 6
LENGTHS = [9, 4, 1]
MASK = torch.arange(9) < torch.tensor(LENGTHS)[:, None]
FEATURES = 3


def frames_of(seed: int = 0, mask: Tensor = MASK, spoilt: float = 7.0) -> Tensor:
    """Frames, shape (batch, frames, channels), that are no use where masked."""
    generator = torch.Generator().manual_seed(1000 + seed)
    frames = torch.randn(*mask.shape, WIDTH, generator=generator)
    return torch.where(mask[..., None], frames, torch.full_like(frames, spoilt))


def scores_of(num_experts: int = EXPERTS) -> LinearScores:
    scores = LinearScores(WIDTH, num_experts)
    with torch.no_grad():
        scores.weight.normal_(std=0.5)
    return scores


def router_of(top_k: int = 2, num_experts: int = EXPERTS, **settings: Any) -> TokenChoice:
    return TokenChoice(scores_of(num_experts), top_k, **settings)


def tree_of(levels: list[int], top_k: int) -> TreeChoice:
    tree = TreeChoice(WIDTH, levels, top_k)
    with torch.no_grad():
        for weight in tree.weights:
            weight.normal_(std=0.5)
    return tree


def layer_of(router: Router | None = None, **settings: Any) -> SparseFeedForward:
    router = router or router_of()
    experts = ExpertFeedForward(router.num_experts, WIDTH, HIDDEN)
    return SparseFeedForward(experts, router, name="layer", **settings)


def run_layer(
    layer: nn.Module, frames: Tensor, mask: Tensor = MASK, embedding: Tensor | None = None
) -> tuple[Tensor, LayerRouting]:
    """Output and routing; the model's features are the first few channels, 0 where masked."""
    features = (frames * mask[..., None])[..., :FEATURES]
    output, routing = layer(frames, mask, RouterContext(features, embedding))
    return output, routing


def outputs_of(experts: nn.Module, frames: Tensor) -> Tensor:
    """Output of every expert for every frame, shape (frames, experts, channels)."""
    weight_in, bias_in, weight_out, bias_out = (
        getattr(experts, name) for name in ("weight_in", "bias_in", "weight_out", "bias_out")
    )
    hidden = torch.relu(torch.einsum("nc,ech->neh", frames, weight_in) + bias_in)
    return torch.einsum("neh,ehc->nec", hidden, weight_out) + bias_out


def loud_rule(features: Tensor, mask: Tensor) -> Tensor:
    return features[..., :1] * torch.arange(EXPERTS)


def varieties() -> dict[str, SparseFeedForward]:
    """A layer of every kind of router, without what is drawn at random."""
    torch.manual_seed(0)
    bias = SelectionBias(EXPERTS, 0.1, 1)
    bias.bias.uniform_(-0.2, 0.2)
    rule = FunctionNetwork(loud_rule, EXPERTS)
    return {
        "top_1": layer_of(router_of(1, weighting="before")),
        "top_2": layer_of(),
        "all": layer_of(router_of(EXPERTS)),
        "sigmoid": layer_of(router_of(3, score="sigmoid", bias=bias)),
        "hard": layer_of(router_of(2, weighting="before", straight_through=True)),
        "hash": layer_of(TokenChoice(HashScores(WIDTH, EXPERTS), 2)),
        "rule": layer_of(
            TokenChoice(GivenScores(EXPERTS), 2, weighting="before"), sees="rule", beside=rule
        ),
        "tree": layer_of(tree_of([3, 2], 2)),
        "tree_3": layer_of(tree_of([2, 2, 2], 2)),
        "context": layer_of(sees="context", beside=ContextWindow(WIDTH, WIDTH, 5)),
        "utterance": layer_of(sees="utterance"),
        "embedding": layer_of(sees="embedding"),
        "expert_choice": layer_of(ExpertChoice(scores_of(), 2.0)),
        "balanced": layer_of(router_of(2, selection="balanced")),
        "shared": layer_of(router_of(1, weighting="before"), shared=nn.Linear(WIDTH, WIDTH)),
        "soft": SoftFeedForward(ExpertFeedForward(EXPERTS, WIDTH, HIDDEN), 2, 4, name="layer"),
    }


EMBEDDING = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(5))


def decided_on(layer: SparseFeedForward, frames: Tensor) -> Tensor:
    """What the router sees of each real frame, by the definition, shape (frames, channels)."""
    seen = {
        "frame": lambda: frames,
        "context": lambda: layer.beside(frames, MASK),
        "utterance": lambda: mean_over_frames(frames, MASK)[:, None].expand_as(frames),
        "embedding": lambda: EMBEDDING[:, None].expand_as(frames),
        "rule": lambda: loud_rule(frames * MASK[..., None], MASK),
    }[layer.sees]()
    return seen[MASK]


def weights_by_definition(name: str, layer: SparseFeedForward, frames: Tensor) -> Tensor:
    """Weight of each expert in each real frame, 0 if not selected, shape (frames, experts)."""
    seen = decided_on(layer, frames)
    if name == "expert_choice":
        probabilities = layer.router(seen).probabilities
        taken = torch.zeros_like(probabilities)
        start = 0
        for length in LENGTHS:
            part = probabilities[start : start + length]
            best = part.topk(math.ceil(2 * length / EXPERTS), dim=0).indices
            taken[start : start + length].scatter_(0, best, 1)
            start += length
        return probabilities * taken
    choice = layer.router(seen)
    zeros = torch.zeros(len(seen), layer.experts.num_experts)
    return zeros.scatter(1, choice.experts, choice.weights)


@pytest.mark.parametrize("name", [name for name in varieties() if name != "soft"])
def test_a_sparse_layer_is_all_experts_weighed_by_the_same_selection(name: str) -> None:
    layer = varieties()[name].eval()
    frames = frames_of().requires_grad_()
    direction = frames_of(seed=1)
    output, routing = run_layer(layer, frames, embedding=EMBEDDING)
    weights = weights_by_definition(name, layer, frames)
    expected = torch.einsum("ne,nec->nc", weights, outputs_of(layer.experts, frames[MASK]))
    if layer.shared is not None:
        expected = expected + layer.shared(frames[MASK])
    torch.testing.assert_close(output[MASK], expected, atol=1e-5, rtol=1e-5)
    assert not output[~MASK].any()
    learning = [p for p in (frames, *layer.parameters()) if p.requires_grad]
    found, wanted = (
        torch.autograd.grad(
            (value * direction[MASK]).sum(), learning, allow_unused=True, materialize_grads=True
        )
        for value in (output[MASK], expected)
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not found[0][~MASK].any()
    # The reported routing is the routing that was computed.
    selected = (weights > 0).sum(dim=0)
    if layer.sees not in {"utterance", "embedding"}:
        assert torch.equal(routing.counts, selected)
    torch.testing.assert_close(
        routing.routing().weights[MASK], torch.where(
            weights.sum(dim=-1, keepdim=True) > 0,
            weights / weights.sum(dim=-1, keepdim=True),
            torch.full_like(weights, 1 / layer.experts.num_experts),
        ).detach()
    )  # fmt: skip


@pytest.mark.parametrize("name", varieties())
@pytest.mark.parametrize("training", [False, True])
def test_what_stands_in_padding_and_how_much_of_it_there_is_changes_nothing(
    name: str, training: bool
) -> None:
    if name == "soft":
        torch.manual_seed(0)
    layer = varieties()[name].train(training)
    if isinstance(layer, SparseFeedForward):
        layer.balance = BalanceWeights(1.0, 1.0, 0.0, 0.0 if name.startswith("tree") else 1.0)
    frames = frames_of()
    output, routing = run_layer(layer, frames, embedding=EMBEDDING)
    longer = nn.functional.pad(MASK, (0, 7))
    spoilt = nn.functional.pad(frames_of(spoilt=-300.0), (0, 0, 0, 7), value=50.0)
    found, other = run_layer(layer, spoilt, longer, EMBEDDING)
    torch.testing.assert_close(found[longer], output[MASK], atol=1e-6, rtol=1e-5)
    assert not found[~longer].any()
    for key in ("counts", "dropped", "entropy", "loss"):
        torch.testing.assert_close(getattr(other, key), getattr(routing, key))
    assert float(routing.loss.detach()) > 0 or name == "soft"


@pytest.mark.parametrize("name", ["top_1", "top_2", "sigmoid", "hash", "rule", "tree", "tree_3"])
def test_a_padded_batch_counts_as_its_frames_in_a_row(name: str) -> None:
    layer = varieties()[name]
    layer.balance = BalanceWeights(1.0, 1.0, 0.0, 0.0 if name.startswith("tree") else 1.0)
    layer.capacity = 1.0
    frames = frames_of()
    output, routing = run_layer(layer, frames)
    packed, other = run_layer(
        layer, frames[MASK][None], torch.ones(1, sum(LENGTHS), dtype=torch.bool)
    )
    torch.testing.assert_close(packed[0], output[MASK])
    for key in ("counts", "dropped", "entropy", "loss"):
        torch.testing.assert_close(getattr(other, key), getattr(routing, key))


@pytest.mark.parametrize("name", varieties())
def test_an_utterance_is_answered_the_same_alone(name: str) -> None:
    layer = varieties()[name].eval()
    frames = frames_of()
    output, _ = run_layer(layer, frames, embedding=EMBEDDING)
    for i, length in enumerate(LENGTHS):
        one = slice(i, i + 1)
        alone, _ = run_layer(layer, frames[one, :length], MASK[one, :length], EMBEDDING[one])
        torch.testing.assert_close(alone[0], output[i, :length], atol=1e-6, rtol=1e-5)


def test_all_frames_of_an_utterance_go_the_same_way() -> None:
    for name in ("utterance", "embedding"):
        layer = varieties()[name]
        # Recordings that differ.
        _, routing = run_layer(layer, frames_of() + 3 * EMBEDDING[:, None], embedding=EMBEDDING)
        # One decision of two experts for each of three recordings, however long they are.
        assert int(routing.counts.sum()) == 6
        weights = routing.routing().weights
        for i, length in enumerate(LENGTHS):
            assert torch.equal(weights[i, :length], weights[i, :1].expand(length, EXPERTS))
        first, second, third = weights[:, 0]
        assert (first - second).abs().max() > 0.01
        assert (second - third).abs().max() > 0.01


@pytest.mark.parametrize("name", ["top_1", "top_2", "sigmoid", "expert_choice", "soft"])
def test_permuting_experts_with_their_rows_of_the_router_changes_nothing(name: str) -> None:
    layer = varieties()[name].eval()
    expected, before = run_layer(layer, frames_of())
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    with torch.no_grad():
        for parameter in layer.experts.parameters():
            parameter.copy_(parameter[order].clone())
        if isinstance(layer, SoftFeedForward):
            apart = layer.directions.unflatten(1, (EXPERTS, 2))
            layer.directions.copy_(apart[:, order].flatten(1).clone())
        else:
            assert isinstance(layer.router, TokenChoice)
            assert isinstance(layer.router.scores, LinearScores)
            layer.router.scores.weight.copy_(layer.router.scores.weight[order].clone())
            if layer.bias is not None:
                layer.bias.bias.copy_(layer.bias.bias[order].clone())
    output, routing = run_layer(layer, frames_of())
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(routing.counts, before.counts[order])
    weights, others = routing.routing().weights[MASK], before.routing().weights[MASK]
    torch.testing.assert_close(weights, others[:, order])
    assert not torch.allclose(weights, others)


@pytest.mark.parametrize("weighting", ["before", "after"])
def test_one_expert_is_the_plain_net(weighting: Any) -> None:
    layer = layer_of(router_of(1, 1, weighting=weighting))
    frames = frames_of()
    output, routing = run_layer(layer, frames)
    plain = outputs_of(layer.experts, frames[MASK])[:, 0]
    torch.testing.assert_close(output[MASK], plain, atol=1e-6, rtol=1e-5)
    assert float(routing.entropy) == pytest.approx(0, abs=1e-6)
    assert routing.load.tolist() == [1]


def test_experts_that_agree_make_the_router_moot() -> None:
    layer = layer_of()
    with torch.no_grad():
        for parameter in layer.experts.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
    frames = frames_of()
    output, _ = run_layer(layer, frames)
    plain = outputs_of(layer.experts, frames[MASK])[:, 0]
    torch.testing.assert_close(output[MASK], plain, atol=1e-6, rtol=1e-5)


def of_scores(
    scores: list[list[float]], top_k: int, **settings: Any
) -> tuple[Tensor, LayerRouting]:
    """Output and routing of a layer with given scores of its experts for each frame.

    Expert ``e`` outputs ``e + 1`` in every channel, whatever its input.
    """
    table = torch.tensor(scores)
    num_experts = table.shape[1]
    rule = FunctionNetwork(lambda features, mask: table, num_experts)
    router = TokenChoice(GivenScores(num_experts), top_k, **settings.pop("router", {}))
    layer = layer_of(router, sees="rule", beside=rule, **settings)
    with torch.no_grad():
        layer.experts.weight_out.zero_()
        numbers = torch.arange(1.0, num_experts + 1)[:, None]
        layer.experts.bias_out.copy_(numbers.expand(num_experts, WIDTH))
    layer.train(settings.get("capacity") is not None)
    mask = torch.ones(1, len(table), dtype=torch.bool)
    output, routing = run_layer(layer, frames_of(mask=mask), mask)
    return output[0, :, 0].detach(), routing


def test_a_layer_by_hand() -> None:
    log3 = math.log(3)
    scores = [[log3, 0.0, -9.0], [-9.0, 0.0, log3]]
    output, routing = of_scores(scores, 2)
    # 3/4 of 1 and 1/4 of 2; 1/4 of 2 and 3/4 of 3.
    torch.testing.assert_close(output, torch.tensor([1.25, 2.75]))
    assert routing.counts.tolist() == [1, 2, 1]
    torch.testing.assert_close(routing.load, torch.tensor([0.25, 0.5, 0.25]))
    certain = torch.tensor(scores).softmax(dim=-1)
    entropy = float(-(certain * certain.log()).sum(dim=-1).mean())
    assert float(routing.entropy) == pytest.approx(entropy)


def test_entropy_is_of_the_normalised_probabilities() -> None:
    # Sigmoids 1/2, 1/2 and (almost) 0 are shares of a half each.
    _, routing = of_scores([[0.0, 0.0, -60.0]], 2, router={"score": "sigmoid"})
    assert float(routing.entropy) == pytest.approx(math.log(2))
    _, routing = of_scores([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0]], 2)
    assert float(routing.entropy) == pytest.approx(math.log(3) / 2, abs=1e-5)
    # A tree does not score all: of the weights of the experts that were chosen.
    layer = layer_of(tree_of([3, 2], 3))
    _, routing = run_layer(layer, frames_of())
    weights = layer.router(frames_of()[MASK]).weights.detach()
    expected = -(weights * weights.log()).sum(dim=-1).mean()
    torch.testing.assert_close(routing.entropy, expected)


def test_frames_beyond_the_capacity_are_dropped_and_counted() -> None:
    # Four frames, two experts, capacity 1: two places each. Three frames want the first expert.
    scores = [[9.0, 0], [9.0, 0], [9.0, 0], [0, 9.0]]
    hard = {"weighting": "before", "straight_through": True}
    output, routing = of_scores(scores, 1, capacity=1.0, router=hard)
    torch.testing.assert_close(output, torch.tensor([1.0, 1, 0, 2]))
    assert sorted(routing.assignment.token.tolist()) == [0, 1, 3]
    assert routing.counts.tolist() == [3, 1]
    assert float(routing.load[0]) == 0.75
    assert float(routing.dropped) == 0.25


def test_capacity_is_rounded_up_and_first_choices_come_first() -> None:
    # Three frames with two choices each and three experts; capacity 0.6 of an equal share of
    # 2 makes ceil(1.2) = 2 places each.
    scores = [[1.0, 2, 0], [1.0, 2, 0], [2.0, 1, 0]]
    hard = {"weighting": "before", "straight_through": True}
    output, routing = of_scores(scores, 2, capacity=0.6, router=hard)
    # First choices 1, 1, 0 all fit. Of the second choices 0, 0, 1 only the first does.
    assert sorted(
        zip(routing.assignment.token.tolist(), routing.assignment.expert.tolist(), strict=True)
    ) == [(0, 0), (0, 1), (1, 1), (2, 0)]
    torch.testing.assert_close(output, torch.tensor([0.5 + 1, 1, 0.5]))
    assert float(routing.dropped) == pytest.approx(2 / 6)
    assert routing.counts.tolist() == [3, 3, 0]


def test_later_utterances_are_dropped_first() -> None:
    layer = layer_of(router_of(1, 2, weighting="before"), capacity=1.0)
    mask = torch.tensor([[True, True, False], [True, True, False]])
    same = frames_of(mask=mask)[:1, :1].expand(2, 3, WIDTH)
    output, routing = run_layer(layer, same, mask)
    # All four want the same expert, which has two places, and padding takes none.
    assert output.any(dim=-1).tolist() == [[True, True, False], [False, False, False]]
    assert float(routing.dropped) == 0.5


def test_a_dropped_frame_gives_no_gradient_to_anybody() -> None:
    layer = layer_of(router_of(1, 2, weighting="before"), capacity=1.0)
    mask = torch.ones(1, 4, dtype=torch.bool)
    same = frames_of(mask=mask)[:, :1].expand(1, 4, WIDTH).clone().requires_grad_()
    output, _ = run_layer(layer, same, mask)
    (gradient,) = torch.autograd.grad(output.square().sum(), same)
    assert gradient.any(dim=-1).tolist() == [[True, True, False, False]]


def test_evaluation_has_no_capacity() -> None:
    layer = layer_of(capacity=0.3)
    plain = layer_of(layer.router)
    plain.experts = layer.experts
    _, routing = run_layer(layer, frames_of())
    assert float(routing.dropped) > 0.2
    output, routing = run_layer(layer.eval(), frames_of())
    assert torch.equal(output, run_layer(plain, frames_of())[0])
    assert float(routing.dropped) == 0


@pytest.mark.slow
@given(seed=st.integers(0, 999), capacity=st.floats(0.2, 2), top_k=st.integers(1, 4))
@settings(max_examples=25)
def test_no_expert_takes_more_than_its_capacity(seed: int, capacity: float, top_k: int) -> None:
    torch.manual_seed(seed)
    layer = layer_of(router_of(top_k, weighting="before"), capacity=capacity)
    _, routing = run_layer(layer, frames_of(seed))
    selected = sum(LENGTHS) * top_k
    most = math.ceil(capacity * selected / EXPERTS)
    taken = torch.bincount(routing.assignment.expert, minlength=EXPERTS)
    assert torch.equal(taken, routing.counts.clamp(max=most))
    assert float(routing.dropped) == pytest.approx(1 - int(taken.sum()) / selected, abs=1e-6)


def test_a_frame_that_all_its_experts_dropped_has_equal_weights() -> None:
    hard = {"weighting": "before", "straight_through": True}
    _, routing = of_scores([[9.0, 0], [9.0, 0], [9.0, 0]], 1, capacity=0.5, router=hard)
    expected = torch.tensor([[1.0, 0], [0.5, 0.5], [0.5, 0.5]])
    assert torch.equal(routing.routing().weights[0], expected)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (BalanceWeights(switch=0.5), lambda c, _: 0.5 * switch_loss(*c.levels[0])),
        (
            BalanceWeights(importance=0.25),
            lambda c, _: 0.25 * importance_loss(c.experts, c.weights, EXPERTS),
        ),
        (BalanceWeights(load=2.0), lambda c, _: 2 * squared_variation(c.load)),
        (BalanceWeights(z=3.0), lambda c, _: 3 * z_loss(c.scores)),
        (
            BalanceWeights(1.0, 1.0, 1.0, 1.0),
            lambda c, _: (
                switch_loss(*c.levels[0])
                + importance_loss(c.experts, c.weights, EXPERTS)
                + squared_variation(c.load)
                + z_loss(c.scores)
            ),
        ),
    ],
)
def test_the_loss_is_the_weighted_sum_over_real_frames(
    weights: BalanceWeights, expected: Any
) -> None:
    torch.manual_seed(0)
    layer = layer_of(router_of(2, noise="gaussian"), balance=weights)
    frames = frames_of()
    torch.manual_seed(1)
    _, routing = run_layer(layer, frames)
    torch.manual_seed(1)
    choice = layer.router(frames[MASK])
    torch.testing.assert_close(routing.loss, expected(choice, None))


def test_the_loss_of_a_tree_is_of_all_its_levels() -> None:
    layer = layer_of(tree_of([3, 2], 2), balance=BalanceWeights(switch=0.5))
    frames = frames_of()
    _, routing = run_layer(layer, frames)
    first, second = layer.router(frames[MASK]).levels
    torch.testing.assert_close(routing.loss, 0.5 * (switch_loss(*first) + switch_loss(*second)))
    gradients = torch.autograd.grad(routing.loss, list(layer.router.parameters()))
    assert all(g.abs().sum() > 1e-3 for g in gradients)


@pytest.mark.parametrize(
    "weights",
    [
        BalanceWeights(switch=1.0),
        BalanceWeights(importance=1.0),
        BalanceWeights(load=1.0),
    ],
)
def test_a_step_down_each_balancing_loss_relieves_the_busiest_expert(
    weights: BalanceWeights,
) -> None:
    torch.manual_seed(0)
    layer = layer_of(router_of(2, noise="gaussian", weighting="before"), balance=weights)
    assert isinstance(layer.router, TokenChoice)
    assert isinstance(layer.router.scores, LinearScores)
    rows = layer.router.scores.weight
    mask = torch.ones(4, 100, dtype=torch.bool)
    frames = frames_of(mask=mask) + 1.0
    with torch.no_grad():
        rows[0] += 0.3
    before, after = [], []
    for _ in range(5):
        _, routing = run_layer(layer, frames, mask)
        before.append(float(routing.load[0]))
        (gradient,) = torch.autograd.grad(routing.loss, rows)
        with torch.no_grad():
            rows -= 0.1 * gradient / gradient.norm()
        after.append(float(run_layer(layer, frames, mask)[1].load[0]))
    assert before[0] > 1.5 / EXPERTS
    assert after[-1] < before[0]


@pytest.mark.parametrize("name", varieties())
def test_a_forward_pass_changes_no_buffer(name: str) -> None:
    layer = varieties()[name]
    before = {key: value.clone() for key, value in layer.named_buffers()}
    for training in (True, False):
        layer.train(training)
        run_layer(layer, frames_of(), embedding=EMBEDDING)
    assert all(torch.equal(value, before[key]) for key, value in layer.named_buffers())
    if name == "sigmoid":
        assert {key.rpartition(".")[2] for key in before} == {"offset", "bias", "counts", "steps"}


def soft_by_loop(layer: SoftFeedForward, frames: Tensor, mask: Tensor) -> Tensor:
    """Soft mixture window by window, slot by slot."""
    output = torch.zeros_like(frames)
    num_experts, slots = layer.experts.num_experts, layer.slots
    directions = layer.directions / layer.directions.norm(dim=0)
    for b, (row, real) in enumerate(zip(frames, mask, strict=True)):
        for start in range(0, int(real.sum()), layer.window):
            seen = row[start : start + layer.window][real[start : start + layer.window]]
            unit = seen / seen.norm(dim=-1, keepdim=True)
            scores = layer.scale * math.sqrt(frames.shape[-1]) * unit @ directions
            mixed, given_ = scores.softmax(dim=0), scores.softmax(dim=1)
            for slot in range(num_experts * slots):
                mixture = (mixed[:, slot, None] * seen).sum(dim=0, keepdim=True)
                answer = outputs_of(layer.experts, mixture)[0, slot // slots]
                output[b, start : start + len(seen)] += given_[:, slot, None] * answer
    return output


@pytest.mark.parametrize(("slots", "window"), [(1, 4), (2, 3), (1, 9), (2, 16), (1, 1)])
def test_a_soft_mixture_is_what_a_loop_over_windows_gives(slots: int, window: int) -> None:
    torch.manual_seed(0)
    experts = ExpertFeedForward(3, WIDTH, HIDDEN)
    layer = SoftFeedForward(experts, slots, window, name="soft")
    with torch.no_grad():
        layer.scale.fill_(1.7)
    frames = frames_of().requires_grad_()
    output, routing = run_layer(layer, frames)
    expected = soft_by_loop(layer, frames, MASK)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    learning = [frames, *layer.parameters()]
    found, wanted = (
        torch.autograd.grad((v * frames_of(seed=1)).sum(), learning) for v in (output, expected)
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    # All experts have a share, and all shares are of real frames.
    assert float(routing.counts.sum()) == pytest.approx(sum(LENGTHS))
    assert (routing.counts > 0).all()
    weights = routing.routing().weights[MASK]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(sum(LENGTHS)))
    torch.testing.assert_close(weights.sum(dim=0), routing.counts)


def test_one_soft_expert_gives_every_frame_the_same_in_a_window_of_one_slot() -> None:
    layer = SoftFeedForward(ExpertFeedForward(1, WIDTH, HIDDEN), 1, 3, name="soft")
    mask = torch.ones(1, 6, dtype=torch.bool)
    output, _ = run_layer(layer, frames_of(mask=mask), mask)
    for start in (0, 3):
        window = output[0, start : start + 3]
        torch.testing.assert_close(window, window[:1].expand(3, WIDTH))
    assert not torch.allclose(output[0, 0], output[0, 3])


def test_shared_experts_are_added_to_real_frames() -> None:
    shared = nn.Linear(WIDTH, WIDTH)
    for layer in (layer_of(), varieties()["soft"]):
        output, _ = run_layer(layer, frames_of())
        layer.shared = shared
        found, _ = run_layer(layer, frames_of())
        torch.testing.assert_close(found - output, shared(frames_of()) * MASK[..., None])


def learn(seed: int, weights: BalanceWeights, bias: SelectionBias | None = None) -> Tensor:
    """Load of 8 experts, top-1, that learn a map of each of 8 clusters of frames.

    Expert 0 begins a little ahead in all clusters: what they have in common favours it.
    Selected first, it learns first, and is selected more.
    """
    torch.manual_seed(seed)
    clusters, steps = 8, 120
    middles = 2 * torch.randn(clusters, WIDTH)
    middles[:, 0] = 2.0
    maps = torch.randn(clusters, WIDTH, WIDTH) / WIDTH**0.5
    router = router_of(1, clusters, weighting="before", bias=bias)
    assert isinstance(router.scores, LinearScores)
    with torch.no_grad():
        router.scores.weight.mul_(0.1)
        router.scores.weight[0, 0] += 1.0
    layer = layer_of(router, balance=weights)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    mask = torch.ones(4, 64, dtype=torch.bool)
    load = torch.zeros(clusters)
    for step in range(steps):
        cluster = torch.randint(clusters, (4, 64))
        frames = middles[cluster] + 0.3 * torch.randn(4, 64, WIDTH)
        wanted = (frames[..., None, :] @ maps[cluster])[..., 0, :]
        output, routing = run_layer(layer, frames, mask)
        loss = (output - wanted).square().mean() + routing.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if bias is not None:
            bias.count(routing.counts)
        if step >= steps - 10:
            load += routing.load / 10
    return load


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_router_left_alone_collapses_and_balancing_cures_it(seed: int) -> None:
    alone = learn(seed, BalanceWeights())
    switch = learn(seed, BalanceWeights(switch=1.0))
    bias = learn(seed, BalanceWeights(), SelectionBias(8, rate=0.02, every=1))

    def dead(load: Tensor) -> int:
        return int((load < 0.1 / 8).sum())

    assert dead(alone) >= 4
    assert dead(switch) == dead(bias) == 0
    collapsed = float(squared_variation(alone).sqrt())
    for cured in (switch, bias):
        assert float(squared_variation(cured).sqrt()) < collapsed / 2


def test_a_layer_without_a_router_has_a_linear_one_of_its_experts_sizes() -> None:
    experts = ExpertFeedForward(5, 7, 11)
    layer = SparseFeedForward(experts, top_k=3)
    router = layer.router
    assert isinstance(router, TokenChoice)
    assert isinstance(router.scores, LinearScores)
    assert router.scores.weight.shape == (5, 7)
    assert router.top_k == 3
    rows = torch.randn(13, 7)
    given = SparseFeedForward(experts, router)
    torch.testing.assert_close(layer(rows)[0], given(rows)[0], rtol=0, atol=0)
    assert layer(rows)[1].counts.sum() == 13 * 3
