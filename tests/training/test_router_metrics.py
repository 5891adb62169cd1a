from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
import yaml
from torch import Tensor

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import load_examples
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import TokenChoice
from phoneme_moe.mixture.sparse.scores import GivenScores
from phoneme_moe.recipe import Balance, Router, Sparse, load_recipe, validate_recipe
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.router_metrics import GRADIENT_STEPS, LayerMetrics, RouterMetrics, advice
from phoneme_moe.training.stages import build_recognizer

SPEAKERS = ["ann", "bob", "carol"]


def routing_of(
    counts: list[int], entropy: float = 0.5, dropped: float = 0.0, layer: str = "block_1"
) -> LayerRouting:
    """A step's routing in which only the figures matter."""
    nothing = torch.empty(0)
    return LayerRouting(
        layer,
        nothing,
        nothing,
        Assignment(nothing, nothing, nothing),
        len(counts),
        None,
        torch.tensor(counts),
        torch.tensor(dropped),
        torch.tensor(entropy),
    )


def health_of(load: list[float], layer: str = "block_1") -> LayerMetrics:
    return LayerMetrics(layer, tuple(load), tuple(load), 0.0, 0.0)


def layer_of(num_experts: int = 4, name: str = "block_1") -> SparseFeedForward:
    """A layer whose frames are the scores of its experts."""
    router = TokenChoice(GivenScores(num_experts), 1, weighting="before")
    return SparseFeedForward(ExpertFeedForward(num_experts, num_experts, 8), router, name=name)


def step(layer: SparseFeedForward, frames: Tensor) -> LayerRouting:
    """A forward and a backward pass."""
    layer.zero_grad()
    mask = torch.ones(frames.shape[:2], dtype=torch.bool)
    output, routing = layer(frames, mask, RouterContext(frames))
    output.square().sum().backward()
    return routing


def norms_by_hand(layer: SparseFeedForward) -> list[float]:
    """Norm of all gradients of each expert."""
    found = []
    for expert in range(layer.experts.num_experts):
        squares = 0.0
        for parameter in layer.experts.parameters():
            assert parameter.grad is not None
            squares += float(parameter.grad[expert].square().sum())
        found.append(math.sqrt(squares))
    return found


@pytest.mark.parametrize(
    ("load", "variation", "dead"),
    [
        ([0.25] * 4, 0, ()),
        ([1.0, 0, 0, 0], math.sqrt(3), (1, 2, 3)),
        # Squares of differences from 1/4: 1/16, 1/16, 0, 0; their mean over 1/16 is 1/2.
        ([0.5, 0.0, 0.25, 0.25], math.sqrt(1 / 2), (1,)),
        # The line is at a tenth of an equal share, 0.025.
        ([0.5, 0.024, 0.026, 0.45], math.sqrt(0.815008), (1,)),
        ([1.0], 0, ()),
    ],
)
def test_figures_of_a_layer_by_hand(
    load: list[float], variation: float, dead: tuple[int, ...]
) -> None:
    layer = health_of(load)
    assert layer.variation == pytest.approx(variation, abs=1e-4)
    assert layer.dead == dead


def test_figures_have_names() -> None:
    layer = LayerMetrics("block_2", (0.75, 0.25), (0.5, 0.5), 0.6, 0.125)
    assert layer.by_name() == {
        "block_2/variation": pytest.approx(0.5),
        "block_2/entropy": 0.6,
        "block_2/dead": 0,
        "block_2/dropped": 0.125,
        "block_2/load/0": 0.75,
        "block_2/load/1": 0.25,
        "block_2/gradient/0": 0.5,
        "block_2/gradient/1": 0.5,
    }


def test_an_epoch_is_the_sum_of_its_choices_and_the_mean_of_its_steps() -> None:
    health = RouterMetrics([layer_of(), layer_of(name="block_2")])
    for first, second in (
        (routing_of([4, 0, 0, 0], 0.2, 0.5), routing_of([1, 1, 1, 1], 1.0, 0, "block_2")),
        (routing_of([2, 6, 4, 0], 0.4, 0.0), routing_of([1, 1, 1, 1], 0.5, 0, "block_2")),
    ):
        health.add([first, second])
    one, two = health.measure()
    assert (one.layer, two.layer) == ("block_1", "block_2")
    # 6, 6, 4 and 0 of 16: a long step counts more than a short one.
    assert one.load == pytest.approx((0.375, 0.375, 0.25, 0))
    assert two.load == pytest.approx((0.25,) * 4)
    assert (one.entropy, one.dropped) == pytest.approx((0.3, 0.25))
    assert (two.entropy, two.dropped) == pytest.approx((0.75, 0))
    assert one.dead == (3,)
    # Asking again changes nothing, and a new epoch begins with nothing.
    assert health.measure() == [one, two]
    health.reset()
    assert health.measure() == []
    health.add([routing_of([0, 0, 0, 3])])
    assert health.measure()[0].load == (0, 0, 0, 1)


def test_what_is_added_up_is_no_part_of_a_graph_and_is_not_changed_in_place() -> None:
    health = RouterMetrics([layer_of()])
    counts = torch.tensor([1.0, 0, 0, 3], requires_grad=True)
    routing = routing_of([0] * 4)
    routing = LayerRouting(**{**vars(routing), "counts": counts})
    for _ in range(3):
        health.add([routing])
    assert not health.counts["block_1"].requires_grad
    assert counts.tolist() == [1, 0, 0, 3]
    assert health.measure()[0].load == (0.25, 0, 0, 0.75)


def test_gradient_shares_are_those_of_the_norms_of_all_an_experts_gradients() -> None:
    torch.manual_seed(0)
    layer = layer_of()
    health = RouterMetrics([layer])
    routing = step(layer, torch.randn(2, 10, 4))
    health.add([routing])
    health.add_gradients()
    expected = torch.tensor(norms_by_hand(layer))
    (found,) = health.measure()
    torch.testing.assert_close(torch.tensor(found.gradient), expected / expected.sum())
    assert sum(found.gradient) == pytest.approx(1)
    assert min(found.gradient) > 0


def test_an_expert_without_load_has_no_share_of_the_gradient() -> None:
    torch.manual_seed(0)
    layer = layer_of()
    health = RouterMetrics([layer])
    health.add([step(layer, torch.randn(2, 10, 4) + torch.tensor([0.0, 0, 0, -99]))])
    health.add_gradients()
    (found,) = health.measure()
    assert found.load[3] == found.gradient[3] == 0
    assert sum(found.gradient) == pytest.approx(1)
    assert found.dead == (3,)


def test_gradients_are_read_in_every_eighth_step_from_the_first() -> None:
    torch.manual_seed(0)
    layer = layer_of()
    health = RouterMetrics([layer])
    expected = torch.zeros(4)
    for number in range(2 * GRADIENT_STEPS + 1):
        # Another expert is asked in every step, and in every step that is read.
        frames = torch.randn(1, 5, 4) + 9 * torch.eye(4)[number % 3]
        health.add([step(layer, frames)])
        health.add_gradients()
        if number % GRADIENT_STEPS == 0:
            expected += torch.tensor(norms_by_hand(layer))
    (found,) = health.measure()
    torch.testing.assert_close(torch.tensor(found.gradient), expected / expected.sum())


def test_before_any_gradient_was_read_there_are_no_shares() -> None:
    health = RouterMetrics([layer_of()])
    health.add([routing_of([1, 1, 1, 1])])
    assert health.measure()[0].gradient == (0, 0, 0, 0)


def sparse_of(router: dict[str, Any] | None = None, **balance: float) -> Sparse:
    return Sparse(
        num_experts=4,
        hidden=8,
        router=Router.model_validate(router or {}),
        balance=Balance(**balance) if balance else None,
    )


WELL = health_of([0.3, 0.2, 0.25, 0.25])
ONE_DEAD = health_of([0.5, 0.0, 0.25, 0.25], "block_2")
COLLAPSED = health_of([0.5, 0.5, 0.0, 0.0], "block_4")


@pytest.mark.parametrize(
    ("sparse", "end"),
    [
        (sparse_of(), "; raise model.encoder.sparse.balance.switch (0.01 now)"),
        (sparse_of(switch=0.25), "; raise model.encoder.sparse.balance.switch (0.25 now)"),
        (
            sparse_of(switch=0, z=0),
            "; raise model.encoder.sparse.balance.switch (0 now; 0.01 is usual)",
        ),
        (
            sparse_of(switch=0.1, bias_rate=0.001),
            "; raise model.encoder.sparse.balance.bias_rate (0.001 now)",
        ),
        (
            sparse_of({"kind": "hash"}),
            "; change model.encoder.sparse.router.kind (hash now)",
        ),
        (
            sparse_of({"kind": "rule", "function": "loud_first"}),
            "; change model.encoder.sparse.router.function (loud_first now)",
        ),
    ],
)
def test_advice_names_the_layer_the_dead_and_the_setting(sparse: Sparse, end: str) -> None:
    assert advice(sparse, [WELL]) is None
    assert advice(sparse, []) is None
    found = advice(sparse, [WELL, ONE_DEAD])
    assert found == f"block_2: 1 of 4 experts get less than 10 % of an equal share{end}"
    worst = advice(sparse, [ONE_DEAD, COLLAPSED, WELL])
    assert worst == (
        "block_4: 2 of 4 experts get less than 10 % of an equal share: the router has "
        f"collapsed{end}"
    )


@pytest.mark.parametrize(
    "router",
    [
        {},
        {"kind": "tree", "levels": [2, 2]},
        {"selection": "balanced"},
        {"noise": "gaussian"},
        {"sees": "utterance"},
    ],
)
def test_the_advice_can_be_followed(router: dict[str, Any], tmp_path: Any) -> None:
    data = yaml.safe_load((tiny.RECIPES / "tiny_recognize.yaml").read_text())
    data["model"] = {"encoder": {"sparse": {"num_experts": 4, "hidden": 8, "router": router}}}
    stage = {"name": "joint", "train": ["encoder"], "epochs": 1, "learning_rate": 0.01}
    data["training"]["stages"] = [stage]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    encoder = load_recipe(path).model.encoder
    assert encoder is not None
    assert encoder.sparse is not None
    found = advice(encoder.sparse, [ONE_DEAD])
    assert found is not None
    # "...; raise KEY (VALUE now...)"
    key, now, *_ = found.partition("; raise ")[2].replace("(", "").split()
    changed = load_recipe(path, [f"{key}={float(now) + 0.01}"]).model.encoder
    assert changed is not None
    assert changed.sparse is not None
    last = key.rpartition(".")[2]
    assert getattr(changed.sparse.balancing, last) > getattr(encoder.sparse.balancing, last)


def test_a_soft_router_is_not_told_to_raise_a_loss_that_it_cannot_have() -> None:
    for layer in (ONE_DEAD, COLLAPSED):
        found = advice(sparse_of({"kind": "soft"}), [layer])
        assert found is None or "model.encoder.sparse.balance" not in found


def test_only_training_steps_count(tones: PreparedCorpus) -> None:
    data = yaml.safe_load((tiny.RECIPES / "tiny_recognize.yaml").read_text())
    router = {"score": "sigmoid", "top_k": 2}
    balance = {"switch": 0, "bias_rate": 0.125, "bias_steps": 2}
    data["model"] = {
        "encoder": {
            "width": 16,
            "hidden": 16,
            "bottleneck": 8,
            "dilations": [1, 1],
            "sparse": {"num_experts": 4, "hidden": 8, "router": router, "balance": balance},
        }
    }
    stage = {"name": "joint", "train": ["encoder"], "epochs": 1, "learning_rate": 0.01}
    data["training"] |= {"stages": [stage], "augmentation": {}}
    recipe = validate_recipe(data, "my.yaml")
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "dev", recognizer, SPEAKERS)
    batch = collate(examples[:4], recognizer, {name: i for i, name in enumerate(SPEAKERS)})
    module = StageModule(recognizer, recipe, 0)
    assert recognizer.encoder is not None
    (layer,) = recognizer.encoder.sparse_layers
    bias = layer.bias

    def evaluate() -> None:
        module.eval()
        with torch.no_grad():
            module.on_validation_epoch_start()
            module.validation_step(batch, 0)
        module.freeze_parts()

    module.freeze_parts()
    evaluate()
    assert module.router_metrics.measure() == []
    assert not bias.counts.any()
    module.training_step(batch, 0).backward()
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters()))
    (before,) = module.router_metrics.measure()
    counts = bias.counts.clone()
    # Two experts for each real frame, none for padding.
    frames = module.recognize(batch, batch.features, batch.mask).routing.mask.sum()
    assert int(counts.sum()) == 2 * int(frames)
    assert sum(before.load) == pytest.approx(1)
    assert sum(before.gradient) == pytest.approx(1)
    evaluate()
    assert module.router_metrics.measure() == [before]
    assert torch.equal(bias.counts, counts)
    assert not bias.bias.any()
    # The second step is the second whose choices are counted together: biases move.
    module.training_step(batch, 1)
    assert set(bias.bias.abs().tolist()) <= {0.0, 0.125}
    assert bias.bias.any()
    assert not bias.counts.any()
