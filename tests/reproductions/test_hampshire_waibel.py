"""All systems on made tokens, and their tables."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from synthetic_tokens import made_tokens

from phoneme_moe_reproductions.hampshire_waibel import EXPERIMENT
from phoneme_moe_reproductions.hampshire_waibel.findings import FIXED_COUNTS, PUBLISHED, conclude
from phoneme_moe_reproductions.hampshire_waibel.systems import compare, plan
from phoneme_moe_reproductions.statistics import mcnemar_p, paired_t_test
from phoneme_moe_reproductions.tokens import speaker_errors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared() -> dict[str, object]:
    return compare(made_tokens(0), made_tokens(1), epochs=25, module_epochs=25, seed=0)


def test_every_system_of_the_table_is_there_with_its_connections(compared: dict) -> None:
    assert set(compared["systems"]) == set(PUBLISHED)
    for name in FIXED_COUNTS:
        assert compared["systems"][name]["connections"] == PUBLISHED[name][0]
    assert compared["systems"]["Multiple TDNN"]["connections"] == 18_699
    # Six speakers would have 6 * 18,699 + 3 * 10,998 = 145,188 (published, rounded: 144,000).
    gate = 3 * (13 * 12 * 49 + 9 * 6 * 61 + 3 * (6 * 9 + 1))
    assert compared["systems"]["Meta-Pi"]["connections"] == 3 * 18_699 + gate
    assert compared == json.loads(json.dumps(compared))


def test_where_speakers_contradict_each_other_modules_behind_a_gate_win(compared: dict) -> None:
    rate = {name: system["all"] for name, system in compared["systems"].items()}
    assert rate["Meta-Pi"] < 10
    assert rate["own module"] < 10
    assert rate["Meta-Pi"] < rate["TDNN, mse"]
    matrix = torch.tensor(compared["matrix"])
    others = matrix[~torch.eye(3, dtype=torch.bool)]
    # The same pattern is another phoneme for every other speaker.
    assert matrix.diag().max() < 10
    assert others.min() > 80
    assert compared["speaker_rate"] > 95


def test_errors_are_counted_by_speaker() -> None:
    tokens = made_tokens(0, each=1, speakers=2)
    right = torch.tensor([True, True, False, False, False, True])
    scores = torch.nn.functional.one_hot((tokens.phoneme + ~right) % 3)
    assert speaker_errors(scores, tokens) == {
        "s0": pytest.approx(100 / 3),
        "s1": pytest.approx(200 / 3),
    }


def test_results_give_tables_claims_and_figures(compared: dict, tmp_path: Path) -> None:
    other_seed = copy.deepcopy(compared)
    other_seed["systems"]["SID"]["all"] += 1.0
    other_seed["systems"]["Meta-Pi"]["all"] += 0.5
    jobs = [job.key for job in plan(2, True)]
    results = {
        key: {"six": result, "three": result}
        for key, result in zip(jobs, (compared, other_seed), strict=True)
    }
    outcome = EXPERIMENT.conclude(results)
    assert [table.name for table in outcome.tables] == ["table_1", "matrix", "weights"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    counts = outcome.claims[0]
    assert counts.holds
    assert counts.published == counts.reproduced == "6,233, 5,357, 6,947"
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
    # On another corpus the paper's figures have no place.
    other = conclude({key: {"six": compared} for key in results}, published=False)
    assert not any("1989" in column for table in other.tables for column in table.columns)


def test_paired_tests() -> None:
    # Differences 1, 2, 3: mean 2, s.d. 1, t = 2 / (1 / sqrt 3).
    result = paired_t_test([2, 4, 6], [1, 2, 3])
    assert result.t == pytest.approx(2 * 3**0.5)
    assert result.degrees == 2
    assert paired_t_test([1, 2], [1, 2]).p == 1
    # 1 of 6: 2 * (1 + 6) / 64.
    assert mcnemar_p(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_p(0, 0) == 1
