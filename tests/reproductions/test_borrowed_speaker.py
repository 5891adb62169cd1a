"""Gates with and without a speaker's own module, on made tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_tokens import made_tokens

from phoneme_moe.training.minibatch import Schedule
from phoneme_moe_reproductions.borrowed_speaker import EXPERIMENT
from phoneme_moe_reproductions.borrowed_speaker.findings import (
    LEAST_OWN_WEIGHT,
    conclude,
    served_by_others,
    with_all,
)
from phoneme_moe_reproductions.borrowed_speaker.systems import (
    CONFIGURATIONS,
    plan,
    remove_modules,
    unrestricted_gates,
)
from phoneme_moe_reproductions.multi_speaker import by_speaker, outputs_of, train_nets


@pytest.fixture(scope="module")
def results() -> dict:
    train, test = made_tokens(0), made_tokens(1)
    modules = train_nets(train, by_speaker(train), Schedule(25), seed=0)
    parts = train, test, *(outputs_of(modules, tokens.features) for tokens in (train, test))
    return remove_modules(*parts, 12, 0) | {"configurations": unrestricted_gates(*parts, 12, 0)}


def test_a_speaker_unlike_all_others_needs_the_own_module(results: dict) -> None:
    # Every pattern is another phoneme for every other speaker: no other module can serve.
    for speaker in results["speakers"]:
        assert results["own"][speaker] < 10
        assert with_all(results, speaker) < 15
        assert results["without"][speaker] > 60
        assert results["best_other"][speaker] > 60
        # The others still have theirs.
        assert results["others"][speaker] < 60
    assert results == json.loads(json.dumps(results))


def test_a_removed_module_has_no_weight_in_the_blend_that_replaces_it(results: dict) -> None:
    for number, blend in enumerate(results["blend"]):
        assert blend[number] == 0
        assert sum(blend) == pytest.approx(1, abs=1e-5)


def test_speakers_count_as_served_by_others_where_the_own_weight_is_small(results: dict) -> None:
    name = str(CONFIGURATIONS[0])
    shares = dict.fromkeys(results["speakers"], 0.5)
    other = {
        **results,
        "configurations": {name: {"own_share": {**shares, "s1": LEAST_OWN_WEIGHT / 2}}},
    }
    kept = {**results, "configurations": {name: {"own_share": shares}}}
    assert served_by_others([kept, other, other], name) == [(1, "s1"), (2, "s1")]


def test_borrowing_gives_tables_claims_and_figures(results: dict, tmp_path: Path) -> None:
    results = {job.key: results for job in plan(2, True)}
    outcome = conclude(results)
    assert [table.name for table in outcome.tables] == ["removed", "left_alone"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    # No speaker here can be served by other modules, and no claim may state it.
    assert not outcome.claims[0].holds
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
