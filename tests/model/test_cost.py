"""What an encoder costs, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ladder_page import BASELINE
from benchmarks.sparse_ladder import RUNGS
from phoneme_moe.model.build import build_encoder
from phoneme_moe.model.cost import cost_of
from phoneme_moe.recipe import EncoderSection, load_recipe

WIDTH, HIDDEN, BOTTLENECK, FEATURES, OUTPUTS = 8, 12, 4, 5, 3
INPUT = 3 * FEATURES * WIDTH
TIME = WIDTH * BOTTLENECK + 3 * BOTTLENECK * WIDTH
OUTPUT = WIDTH * OUTPUTS
LADDER = [name for name in RUNGS if name != BASELINE]


def section(sparse: dict[str, Any] | None) -> EncoderSection:
    data = {"width": WIDTH, "hidden": HIDDEN, "dilations": [1, 2], "bottleneck": BOTTLENECK}
    return EncoderSection.model_validate(data | ({"sparse": sparse} if sparse else {}))


def test_a_dense_encoder_multiplies_every_weight_of_its_linear_maps_once() -> None:
    cost = cost_of(build_encoder(section(None), FEATURES, OUTPUTS))
    assert cost.multiply_adds == INPUT + 2 * (TIME + 2 * WIDTH * HIDDEN) + OUTPUT
    biases = WIDTH + 2 * (BOTTLENECK + WIDTH + HIDDEN + WIDTH) + OUTPUTS
    norms = 2 * 2 * 2 * WIDTH + 2 * WIDTH
    assert cost.total == cost.active == cost.multiply_adds + biases + norms


@pytest.mark.parametrize(
    ("sparse", "top_k", "routing"),
    [
        ({"router": {"top_k": 2}}, 2, WIDTH * 8),
        ({"router": {"top_k": 2, "noise": "gaussian"}}, 2, 2 * WIDTH * 8),
        ({"router": {"top_k": 3, "kind": "hash"}}, 3, WIDTH * 8),
        ({"router": {"sees": "utterance"}}, 2, 0),
        ({"router": {"kind": "tree", "levels": [4, 2]}}, 2, WIDTH * 4 + 2 * WIDTH * 2),
        ({"router": {"selection": "expert_choice"}}, 2, WIDTH * 8),
    ],
)
def test_a_sparse_layer_costs_its_router_and_the_selected_experts(
    sparse: dict[str, Any], top_k: int, routing: int
) -> None:
    encoder = build_encoder(
        section({"every": 2, "num_experts": 8, "hidden": 6} | sparse), FEATURES, OUTPUTS
    )
    cost = cost_of(encoder)
    dense = INPUT + 2 * TIME + 2 * WIDTH * HIDDEN + OUTPUT
    assert cost.multiply_adds == dense + top_k * 2 * WIDTH * 6 + routing
    expert = 2 * WIDTH * 6 + 6 + WIDTH
    assert cost.total - cost.active == (8 - top_k) * expert


def test_a_soft_layer_costs_its_slots_and_the_way_there_and_back() -> None:
    router = {"kind": "soft", "window": 4, "slots": 2}
    encoder = build_encoder(
        section({"every": 2, "num_experts": 8, "hidden": 6, "router": router}), FEATURES, OUTPUTS
    )
    cost = cost_of(encoder)
    dense = INPUT + 2 * TIME + 2 * WIDTH * HIDDEN + OUTPUT
    assert cost.multiply_adds == dense + 3 * WIDTH * 16 + 16 * 2 * WIDTH * 6 // 4
    assert cost.total == cost.active


@pytest.mark.parametrize("name", LADDER)
def test_every_recipe_of_the_ladder_costs_as_much_as_dense(name: str) -> None:
    costs, epochs = {}, []
    for recipe_name in ("dense", name):
        recipe = load_recipe(recipe_name)
        assert recipe.model.encoder is not None
        features = recipe.features.n_mels * recipe.features.stack
        costs[recipe_name] = cost_of(build_encoder(recipe.model.encoder, features, 40))
        epochs.append(sum(stage.epochs for stage in recipe.training.stages))
    assert epochs[0] == epochs[1]
    ratio = costs[name].multiply_adds / costs["dense"].multiply_adds
    assert 0.97 <= ratio <= 1
    assert costs[name].total > 2.5 * costs["dense"].total
