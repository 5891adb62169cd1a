from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.networks.functions import register_gate
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import TokenChoice
from phoneme_moe.mixture.sparse.scores import HashScores, LinearScores
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice
from phoneme_moe.model.build import build_encoder
from phoneme_moe.model.encoder import Block, DenseFeedForward, Encoder
from phoneme_moe.recipe import EncoderSection, Router, Sparse

FEATURES, OUTPUTS, EXPERTS = 6, 5, 8
LENGTHS = [19, 11, 1]
MASK = torch.arange(19) < torch.tensor(LENGTHS)[:, None]

KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "switch": {"router": {"top_k": 1, "weigh": "before", "noise": "jitter"}, "capacity": 1.25},
    "noisy_top_k": {
        "router": {"noise": "gaussian"},
        "balance": {"switch": 0, "importance": 0.1, "load": 0.2},
    },
    "gumbel": {"router": {"noise": "gumbel", "noise_scale": 0.5}},
    "straight_through": {"router": {"top_k": 1, "weigh": "before", "straight_through": True}},
    "deepseek": {
        "router": {"score": "sigmoid"},
        "segments": 2,
        "shared": 1,
        "balance": {"switch": 1e-4, "bias_rate": 0.01, "bias_steps": 1},
    },
    "expert_choice": {"router": {"selection": "expert_choice"}},
    "balanced": {"router": {"selection": "balanced"}},
    "soft": {"router": {"kind": "soft", "window": 8, "slots": 2}},
    "hash": {"router": {"kind": "hash"}},
    "rule": {"router": {"kind": "rule", "function": "loud_first"}},
    "tree": {"router": {"kind": "tree", "levels": [4, 2]}},
    "tree_3": {"router": {"kind": "tree", "levels": [2, 2, 2], "weigh": "before"}},
    "context": {"router": {"sees": "context", "context_frames": 5, "context_width": 8}},
    "context_tree": {"router": {"kind": "tree", "levels": [4, 2], "sees": "context"}},
    "utterance": {"router": {"sees": "utterance"}},
    "embedding": {"router": {"sees": "embedding", "embedding_size": 4}},
}
EMBEDDING = torch.randn(3, 4, generator=torch.Generator().manual_seed(5))


def loud_first(features: Tensor, mask: Tensor) -> Tensor:
    return features.mean(dim=-1, keepdim=True) * torch.arange(EXPERTS)


register_gate("loud_first", loud_first)


def section(sparse: dict[str, Any] | None = None, **settings: Any) -> EncoderSection:
    if sparse is not None:
        sparse = {"num_experts": EXPERTS, "hidden": 16, "every": 1} | sparse
    sizes = {"width": 16, "hidden": 24, "dilations": [1, 2], "bottleneck": 8, "dropout": 0.2}
    return EncoderSection.model_validate(sizes | settings | {"sparse": sparse})


def encoder_of(sparse: dict[str, Any] | None = None, **settings: Any) -> Encoder:
    """An encoder whose routers have preferences already."""
    torch.manual_seed(0)
    encoder = build_encoder(section(sparse, **settings), FEATURES, OUTPUTS)
    with torch.no_grad():
        for layer in encoder.sparse_layers:
            if isinstance(layer, SparseFeedForward):
                for parameter in layer.router.parameters():
                    parameter.normal_(std=0.5)
    return encoder


def features_of(mask: Tensor = MASK) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*mask.shape, FEATURES, generator=generator) * mask[..., None]


def log_posteriors(
    encoder: Encoder, features: Tensor, mask: Tensor, embedding: Tensor
) -> tuple[Tensor, tuple[LayerRouting, ...]]:
    scores, routings = encoder(features, mask, embedding)
    return scores.log_softmax(dim=-1), routings


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_batch_never_change_the_posteriors_of_an_utterance(kind: str) -> None:
    encoder = encoder_of(KINDS[kind]).eval()
    features = features_of()
    together, _ = log_posteriors(encoder, features, MASK, EMBEDDING)
    for i, length in enumerate(LENGTHS):
        one = slice(i, i + 1)
        alone, _ = log_posteriors(
            encoder, features[one, :length], MASK[one, :length], EMBEDDING[one]
        )
        torch.testing.assert_close(alone[0], together[i, :length], atol=1e-5, rtol=0)
    # In other company, another order and with more padding.
    order = torch.tensor([2, 1, 1, 0])
    longer, mask = (nn.functional.pad(v, p) for v, p in ((features, (0, 0, 0, 9)), (MASK, (0, 9))))
    mixed, _ = log_posteriors(encoder, longer[order], mask[order], EMBEDDING[order])
    expected = nn.functional.pad(together, (0, 0, 0, 9))[order]
    torch.testing.assert_close(mixed[mask[order]], expected[mask[order]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_the_same_every_time_and_changes_nothing(kind: str) -> None:
    encoder = encoder_of(KINDS[kind])
    log_posteriors(encoder, features_of(), MASK, EMBEDDING)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder.eval()
    first, second = (log_posteriors(encoder, features_of(), MASK, EMBEDDING)[0] for _ in range(2))
    assert torch.equal(first[MASK], second[MASK])
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_learns_gets_a_gradient(kind: str) -> None:
    encoder = encoder_of(KINDS[kind]).train()
    scores, routings = log_posteriors(encoder, features_of(), MASK, EMBEDDING)
    assert [routing.layer for routing in routings] == ["block_1", "block_2"]
    loss = -scores[MASK][:, 0].mean() + sum(routing.loss for routing in routings)
    loss.backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    "kind", [kind for kind, s in KINDS.items() if Router.model_validate(s.get("router", {})).learns]
)
def test_balancing_moves_the_router_by_default_or_is_left_to_the_selection(kind: str) -> None:
    settings = KINDS[kind] | {"balance": None}
    encoder = encoder_of(settings).train()
    _, routings = log_posteriors(encoder, features_of(), MASK, EMBEDDING)
    for layer, routing in zip(encoder.sparse_layers, routings, strict=True):
        if kind in {"expert_choice", "balanced"}:
            # Each expert is selected equally often, by construction.
            assert float(routing.loss) == 0
            share = 1 / EXPERTS
            assert routing.load.sub(share).abs().max() < 0.6 * share
            continue
        assert isinstance(layer, SparseFeedForward)
        learning = [v for n, v in layer.router.named_parameters() if n != "spread"]
        for gradient in torch.autograd.grad(routing.loss, learning, retain_graph=True):
            assert float(gradient.norm()) > 1e-5


def test_the_default_balance_is_one_hundredth_of_the_switch_loss_and_little_z() -> None:
    encoder = encoder_of({"router": {"top_k": 1, "weigh": "before"}})
    with torch.no_grad():
        for layer in encoder.sparse_layers:
            for parameter in layer.router.parameters():
                parameter.zero_()
    _, routings = log_posteriors(encoder, features_of(), MASK, EMBEDDING)
    # Scores of 0: probabilities are uniform, so the loss is 1 for any selection; log-sum-exp ln 8.
    expected = 0.01 * 1 + 0.001 * torch.tensor(float(EXPERTS)).log() ** 2
    for routing in routings:
        torch.testing.assert_close(routing.loss, expected)


def feed_forwards(encoder: Encoder) -> list[nn.Module]:
    return [block.feed_forward for block in encoder.blocks]


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (3, [3]), (5, [5])]
)
def test_every_nth_block_is_sparse(every: int, expected: list[int]) -> None:
    encoder = encoder_of({"every": every}, dilations=[1, 1, 2, 2, 4])
    parts = feed_forwards(encoder)
    assert [i for i, p in enumerate(parts, 1) if isinstance(p, SparseFeedForward)] == expected
    assert [layer.name for layer in encoder.sparse_layers] == [f"block_{i}" for i in expected]
    _, routings = log_posteriors(encoder, features_of(), MASK, EMBEDDING)
    assert [routing.layer for routing in routings] == [f"block_{i}" for i in expected]
    dense = encoder_of(dilations=[1, 1, 2, 2, 4])
    assert all(isinstance(p, DenseFeedForward) for p in feed_forwards(dense))
    assert log_posteriors(dense, features_of(), MASK, EMBEDDING)[1] == ()


def test_settings_arrive_where_they_belong() -> None:
    def first(kind: str, **more: Any) -> SparseFeedForward:
        layer = encoder_of(KINDS[kind] | more).sparse_layers[0]
        assert isinstance(layer, SparseFeedForward)
        return layer

    switch = first("switch")
    assert isinstance(switch.router, TokenChoice)
    assert isinstance(switch.router.scores, LinearScores)
    assert (switch.router.top_k, switch.router.weighting) == (1, "before")
    assert (switch.router.noise, switch.router.noise_scale) == ("jitter", 0.01)
    assert switch.capacity == 1.25
    assert switch.balance == BalanceWeights(switch=0.01, z=0.001)
    assert first("gumbel").router.noise_scale == 0.5
    noisy = first("noisy_top_k")
    assert noisy.balance == BalanceWeights(0, 0.1, 0.2, 0.0)
    # 8 experts cut in two; of 2 times 2 one is shared, so that 3 are chosen; sizes halved.
    deepseek = first("deepseek")
    assert isinstance(deepseek.router, TokenChoice)
    assert (deepseek.router.num_experts, deepseek.router.top_k) == (16, 3)
    assert deepseek.router.score == "sigmoid"
    assert deepseek.experts.weight_in.shape == (16, 16, 8)
    assert isinstance(deepseek.shared, DenseFeedForward)
    assert deepseek.shared.expand.out_features == 8
    two = first("deepseek", shared=2)
    assert isinstance(two.shared, DenseFeedForward)
    assert two.shared.expand.out_features == 16
    assert deepseek.bias is not None
    assert (deepseek.bias.rate, deepseek.bias.every) == (0.01, 1)
    assert first("expert_choice").router.experts_per_frame == 2
    assert first("expert_choice", segments=2, shared=1).router.experts_per_frame == 3
    assert first("balanced").router.selection == "balanced"
    assert first("straight_through").router.straight_through is True
    tree = first("tree_3").router
    assert isinstance(tree, TreeChoice)
    assert (tree.levels, tree.top_k, tree.weighting) == ((2, 2, 2), 2, "before")
    assert first("context").beside.kernel == 3
    assert first("embedding").router.scores.weight.shape == (8, 4)
    soft = encoder_of(KINDS["soft"]).sparse_layers[0]
    assert isinstance(soft, SoftFeedForward)
    assert (soft.slots, soft.window) == (2, 8)


def test_hashes_of_blocks_differ_and_owe_nothing_to_torchs_seed() -> None:
    def directions(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        encoder = build_encoder(section(KINDS["hash"]), FEATURES, OUTPUTS)
        found = []
        for layer in encoder.sparse_layers:
            assert isinstance(layer, SparseFeedForward)
            assert isinstance(layer.router, TokenChoice)
            assert isinstance(layer.router.scores, HashScores)
            found.append(layer.router.scores.directions)
        return found

    first, second = directions(1), directions(2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_training_never_moves_a_hash() -> None:
    encoder = encoder_of(KINDS["hash"])
    before = [layer.router.scores.directions.clone() for layer in encoder.sparse_layers]
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        scores, _ = log_posteriors(encoder, features_of(), MASK, EMBEDDING)
        optimizer.zero_grad()
        scores[MASK].square().mean().backward()
        optimizer.step()
    after = [layer.router.scores.directions for layer in encoder.sparse_layers]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_rule_gets_the_features_of_the_model() -> None:
    def by_sign(features: Tensor, mask: Tensor) -> Tensor:
        # Expert 0 where the first feature is positive, else expert 1; the rest left out.
        sign = features[..., :1]
        out = torch.full((*mask.shape, EXPERTS - 2), -torch.inf)
        return torch.cat([10 * sign, -10 * sign, out], dim=-1)

    register_gate("by_sign", by_sign)
    rule = {"kind": "rule", "function": "by_sign", "top_k": 1}
    encoder = encoder_of({"router": rule})
    features = features_of()
    _, routings = log_posteriors(encoder, features, MASK, EMBEDDING)
    expected = (features[..., 0] < 0)[MASK].long()
    for routing in routings:
        assert torch.equal(routing.routing().weights[MASK].argmax(dim=-1), expected)
        assert routing.counts.tolist() == [*torch.bincount(expected).tolist(), *[0] * 6]


def test_an_unregistered_rule_is_refused_with_its_key() -> None:
    with pytest.raises(InputError) as caught:
        encoder_of({"router": {"kind": "rule", "function": "loud_frist"}})
    message = str(caught.value)
    assert message.startswith("model.encoder.sparse.router.function: found 'loud_frist'")
    assert "did you mean 'loud_first'" in message


def test_a_block_sees_its_frames_and_no_others() -> None:
    torch.manual_seed(0)
    for kernel, dilation in ((3, 1), (3, 4), (5, 2)):
        block = Block(8, 4, kernel, dilation, DenseFeedForward(8, 6), 0.0)
        frames = torch.randn(1, 31, 8, requires_grad=True)
        mask = torch.ones(1, 31, dtype=torch.bool)
        output, routing = block(frames, mask, RouterContext(frames))
        assert routing is None
        (gradient,) = torch.autograd.grad(output[0, 15].square().sum(), frames)
        found = gradient[0].abs().sum(dim=-1).nonzero()[:, 0].tolist()
        reach = range(-(kernel // 2), kernel // 2 + 1)
        assert found == [15 + dilation * step for step in reach]


def test_a_block_with_zero_output_passes_frames_on() -> None:
    block = Block(8, 4, 3, 1, DenseFeedForward(8, 6), 0.5)
    with torch.no_grad():
        for part in (block.widen, block.feed_forward.reduce):
            part.weight.zero_()
            part.bias.zero_()
    frames = torch.randn(2, 5, 8)
    output, _ = block(frames, torch.ones(2, 5, dtype=torch.bool), RouterContext(frames))
    assert torch.equal(output, frames)


def test_dropout_silences_channels_of_an_utterance_for_all_its_frames() -> None:
    torch.manual_seed(0)
    dense = DenseFeedForward(64, 6)
    block = Block(64, 4, 3, 1, dense, 0.25)
    with torch.no_grad():
        # The first part outputs 0, the second 1.
        for linear, bias in ((block.widen, 0.0), (dense.reduce, 1.0)):
            linear.weight.zero_()
            linear.bias.fill_(bias)
    frames, mask = torch.zeros(50, 7, 64), torch.ones(50, 7, dtype=torch.bool)
    dropped, _ = block(frames, mask, RouterContext(frames))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    values = dropped[:, 0].detach()
    torch.testing.assert_close(values.unique(), torch.tensor([0, 1 / 0.75]))
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(values[0], values[1])
    assert torch.equal(block.eval()(frames, mask, RouterContext(frames))[0], torch.ones(50, 7, 64))


def test_an_encoder_of_one_expert_is_the_dense_encoder() -> None:
    sparse = encoder_of({"num_experts": 1, "hidden": 24, "router": {"kind": "hash", "top_k": 1}})
    dense = encoder_of()
    weights = dict(sparse.named_parameters())
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if ".feed_forward." in name:
                layer, way, kind = name.rsplit(".", 2)
                side = "in" if way == "expand" else "out"
                found = weights[f"{layer}.experts.{kind}_{side}"][0]
                parameter.copy_(found.T if kind == "weight" else found)
            else:
                parameter.copy_(weights[name])
    found, _ = log_posteriors(sparse.eval(), features_of(), MASK, EMBEDDING)
    expected, _ = log_posteriors(dense.eval(), features_of(), MASK, EMBEDDING)
    torch.testing.assert_close(found[MASK], expected[MASK], atol=1e-5, rtol=0)


def test_segments_cost_the_same_in_finer_grains() -> None:
    def sizes(**settings: Any) -> tuple[int, int]:
        sparse = Sparse(num_experts=EXPERTS, hidden=16, **settings)
        active = (sparse.routed_top_k + sparse.shared) * sparse.expert_hidden
        return active, sparse.num_routed * sparse.expert_hidden

    assert sizes() == sizes(segments=4) == sizes(segments=4, shared=2) == (32, 128)


@pytest.mark.parametrize("kind", ["dense", "default", "context"])
def test_an_output_depends_exactly_on_the_stated_context(kind: str) -> None:
    settings = {"dilations": [1, 3], "dropout": 0.0}
    encoder = encoder_of(None if kind == "dense" else KINDS[kind], **settings).eval()
    reach = encoder.context
    assert reach is not None
    middle, frames = reach + 2, 2 * reach + 5
    mask = torch.ones(1, frames, dtype=torch.bool)
    features = features_of(mask)
    with torch.no_grad():
        before = encoder(features, mask)[0][0, middle]
        changed = []
        for frame in range(frames):
            other = features.clone()
            other[0, frame] += 3.0
            after = encoder(other, mask)[0][0, middle]
            changed.append(not torch.allclose(before, after, atol=1e-6, rtol=0))
    inside = [middle - reach <= frame <= middle + reach for frame in range(frames)]
    # Kernels of 3 reach as far as their dilations, and may leave gaps between.
    assert not any(c and not i for c, i in zip(changed, inside, strict=True))
    assert changed[middle - reach]
    assert changed[middle + reach]


@pytest.mark.parametrize("kind", ["soft", "expert_choice", "utterance"])
def test_context_is_none_for_the_whole_utterance(kind: str) -> None:
    assert encoder_of(KINDS[kind]).context is None
