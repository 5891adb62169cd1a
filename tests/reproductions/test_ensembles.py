"""Costs counted by hand, trees counted on the path, and the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_tokens import made_tokens

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN
from phoneme_moe_reproductions.ensembles import EXPERIMENT, trees
from phoneme_moe_reproductions.ensembles.findings import LABELS, TASKS
from phoneme_moe_reproductions.ensembles.systems import (
    MIXTURE,
    TOP1,
    compare_on_tokens,
    compare_on_vowels,
    cost_of,
    plan,
    vote,
)
from phoneme_moe_reproductions.ensembles.trees import Cost, dense_cost, top1_cost

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared() -> dict[str, dict[str, float]]:
    return compare_on_tokens(made_tokens(0), made_tokens(1), 20, 0, quick=True)


def test_top_1_routing_costs_the_gate_and_one_expert() -> None:
    gate, expert = dense_cost(10, 100), dense_cost(5, 50)
    assert top1_cost(gate, expert, 4) == Cost(30, 15, 150)
    assert gate + expert * 4 == Cost(30, 30, 300)


def test_nets_cost_what_was_published_and_rivals_are_of_their_size(compared: dict) -> None:
    cost = cost_of(TokenTDNN(2, 16, 15, 3))
    assert cost == Cost(521, 521, 6_233)
    # Three speakers here: three modules and a gate of three nets.
    module = 3 * 6_233
    gate = 3 * (13 * 12 * 49 + 9 * 6 * 61 + 3 * (6 * 9 + 1))
    assert compared[MIXTURE]["multiply_adds"] == 3 * module + gate
    assert compared[TOP1]["multiply_adds"] == module + gate
    assert compared[TOP1]["parameters"] == compared[MIXTURE]["parameters"]
    # With six speakers the rivals are of the mixture's size, within 4 %.
    six = 6 * module + 3 * 10_998
    for name in ("dense net, same total size", "average of independent nets"):
        assert compared[name]["multiply_adds"] == pytest.approx(six, rel=0.04)
    active = module + 3 * 10_998
    assert compared["dense net, active size"]["multiply_adds"] == pytest.approx(active, rel=0.04)


def test_where_speakers_contradict_each_other_the_mixture_wins(compared: dict) -> None:
    assert compared[MIXTURE]["error"] < 15
    assert compared[TOP1]["error"] < 20
    assert compared == json.loads(json.dumps(compared))


def test_a_vote_counts_heads() -> None:
    scores = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]], [[0.45, 0.55]]])
    torch.testing.assert_close(vote(scores), torch.tensor([[1 / 3, 2 / 3]]))


@pytest.mark.parametrize(
    "kind", ["random forest", "boosted trees, scikit-learn", "boosted trees, XGBoost"]
)
def test_trees_learn_and_their_paths_are_counted(kind: str) -> None:
    if kind.endswith("XGBoost"):
        pytest.importorskip("xgboost", reason="needs xgboost (extra boosting)")
    assert trees.FEW == 5
    # A single threshold tells the classes apart: one comparison a tree.
    train = np.linspace(-1, 1, 200)[:, None]
    classes = (train[:, 0] > 0).astype(int)
    probabilities, cost = trees.tree_systems(quick=True)[kind](train, classes, train + 1e-3, 0)
    assert (probabilities.argmax(axis=1) == classes).mean() > 0.97
    num_trees = {"random forest": 5, "boosted trees, scikit-learn": 10}.get(kind)
    if kind == "random forest":
        # Two values a leaf: a comparison and two sums for each of five trees.
        assert cost.multiply_adds == pytest.approx(5 * (1 + 2), abs=3)
        assert cost.touched == pytest.approx(5 * (2 + 2), abs=6)
    elif num_trees:
        assert cost.multiply_adds == num_trees * (trees.BOOSTED_DEPTH + 1)
    assert cost.touched <= cost.parameters


def test_depths_of_leaves_are_those_of_the_dump() -> None:
    dump = {
        "nodeid": 0,
        "children": [
            {"nodeid": 1, "leaf": 0.1},
            {"nodeid": 2, "children": [{"nodeid": 3, "leaf": 1}, {"nodeid": 4, "leaf": 2}]},
        ],
    }
    assert trees._leaf_depths(dump) == {1: 1, 3: 2, 4: 2}


def test_both_tasks_give_tables_claims_and_figures(compared: dict, tmp_path: Path) -> None:
    other = {
        name: {**system, "error": system["error"] + n}
        for n, (name, system) in enumerate(compared.items())
    }
    results = {job.key: compared if job.settings["seed"] == 0 else other for job in plan(2, True)}
    outcome = EXPERIMENT.conclude(results)
    assert [table.name for table in outcome.tables] == list(TASKS)
    for table in outcome.tables:
        assert [row[0] for row in table.rows] == [LABELS.get(name, name) for name in compared]
        assert all(len(row) == len(table.columns) for row in table.rows)
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)


def test_the_vowels_task_runs_and_counts_parameters() -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")
    systems = compare_on_vowels(steps=150, seed=0, quick=True)
    # 8 experts of 5 x 10 weights, a gate of 5 x 8.
    assert systems[MIXTURE]["parameters"] == systems[MIXTURE]["multiply_adds"] == 440
    assert systems[TOP1]["multiply_adds"] == 90
    assert systems["dense net, same total size"]["parameters"] == pytest.approx(440, rel=0.03)
    assert systems["dense net, active size"]["parameters"] == pytest.approx(90, rel=0.06)
    assert systems["average of independent nets"]["parameters"] == pytest.approx(440, rel=0.04)
    assert all(5 < system["error"] < 50 for system in systems.values())
