from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")

from phoneme_moe.mixture.trees.hierarchy import HierarchicalMixture, balanced_tree
from phoneme_moe_reproductions.hme_1994 import EXPERIMENT
from phoneme_moe_reproductions.hme_1994.findings import iterations_to_common_level
from phoneme_moe_reproductions.hme_1994.systems import (
    SYSTEMS,
    THRESHOLDS,
    Lengths,
    experts_in_use,
    plan,
    pruned,
    run,
    train,
)
from phoneme_moe_reproductions.vowels import divide

SHORT = Lengths(em=4, gradient=20, between=2, after=3)


def test_speakers_of_all_groups_are_divided_and_nobody_is_in_two_parts() -> None:
    parts = divide(0, "F0-F3")
    assert {name: len(part.vowel) for name, part in parts.items()} == {
        "train": 46 * 20,
        "dev": 11 * 20,
        "test": 19 * 20,
    }
    inputs = parts["train"].inputs
    torch.testing.assert_close(inputs.mean(dim=0), torch.zeros(4).double(), atol=1e-9, rtol=0)
    # Two tokens of a vowel by each speaker, in every part.
    for part in parts.values():
        assert len(set(torch.bincount(part.vowel).tolist())) == 1
    everyone = torch.cat([part.inputs for part in parts.values()]).numpy()
    again = torch.cat([part.inputs for part in divide(1, "F0-F3").values()]).numpy()
    assert len(everyone) == 1520
    assert not np.allclose(everyone, again)
    assert divide(0, "F1 F2")["test"].inputs.shape == (380, 2)


def test_methods_of_a_seed_begin_alike_and_em_climbs_faster() -> None:
    parts = divide(0, "F0-F3")
    curves = {
        method: train(SYSTEMS[f"{method}_8"], parts, SHORT, seed=3)
        for method in ("em", "rprop", "descent")
    }
    assert len({round(course.curve[0], 9) for course in curves.values()}) == 1
    assert curves["em"].falls == 0
    assert curves["em"].curve[-1] > max(curves["rprop"].curve[:4])


def test_a_grown_tree_has_as_many_leaves_and_iterations_as_the_fixed_one() -> None:
    parts = divide(0, "F1 F2")
    fixed, grown = (
        train(SYSTEMS[f"{kind}_F1F2_0.1"], parts, SHORT, seed=0) for kind in ("fixed", "grown")
    )
    assert fixed.mixture.num_leaves == grown.mixture.num_leaves == 8
    assert len(fixed.curve) == len(grown.curve) == 7 * 2 + 3
    # Dev stops a grown tree only when it is fully grown.
    assert grown.best.num_leaves == 8
    assert grown.stopped_at > 14
    assert fixed.falls == grown.falls == 0


def test_experts_without_cases_are_not_in_use_and_pruning_takes_them_out() -> None:
    parts = divide(0, "F1 F2")
    mixture = HierarchicalMixture(2, 10, balanced_tree((2, 2)), scale=0.0).double()
    effective, _ = experts_in_use(mixture, parts["train"])
    assert effective == pytest.approx(4)
    with torch.no_grad():
        mixture.gates[0, -1, 0] = 30.0
        mixture.gates[1, -1, 1] = -4.0
    effective, in_use = experts_in_use(mixture, parts["train"])
    assert effective == pytest.approx(1.1, abs=0.02)
    assert in_use == 1
    entries = {entry["threshold"]: entry for entry in pruned(mixture, parts)}
    assert [entries[t]["leaves"] for t in THRESHOLDS] == [2, 2, 2, 1]
    assert [entries[t]["paths"] for t in THRESHOLDS] == [2, 2, 2, 1]


def test_the_race_ends_at_the_level_that_both_reach() -> None:
    runs = {
        "em_2": [{"curve": [-3.0, -1.0, -0.5, -0.2]}],
        "rprop_2": [{"curve": [-3.0, -2.0, -1.5, -1.2, -0.995, -0.99]}],
    }
    assert iterations_to_common_level(runs, "rprop", 2) == ([1], [4])


@pytest.mark.slow
def test_results_give_tables_claims_and_figures(tmp_path: Path) -> None:
    jobs = plan(2, True)
    assert len({job.key for job in jobs}) == 2 * len(SYSTEMS)
    chosen = run(jobs[0].settings)
    assert chosen == json.loads(json.dumps(chosen))
    # Other systems have the same figures: one run stands for all, with paths pruned.
    figures = {**chosen, "pruned": PRUNED}
    outcome = EXPERIMENT.conclude({job.key: figures for job in jobs})
    assert [table.name for table in outcome.tables] == ["sizes", "growing", "pruning"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert outcome.claims[0].holds
    assert not outcome.claims[1].holds
    names = EXPERIMENT.draw({job.key: figures for job in jobs}, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)


PRUNED = [
    {"threshold": t, "paths": 3.0, "accuracy": 80.0, "leaves": 7, "tree": 80.0} for t in THRESHOLDS
]
