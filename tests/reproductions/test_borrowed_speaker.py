"""Gates with and without a speaker's own module, on made tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_tokens import made_tokens

from phoneme_moe.reproductions.borrowed_speaker import EXPERIMENT
from phoneme_moe.reproductions.borrowed_speaker.findings import (
    LEAST_OWN_WEIGHT,
    conclude,
    served_by_others,
    with_all,
)
from phoneme_moe.reproductions.borrowed_speaker.systems import (
    CONFIGURATIONS,
    plan,
    remove_modules,
    unrestricted_gates,
)
from phoneme_moe.reproductions.multi_speaker import by_speaker, outputs_of, train_nets
from phoneme_moe.training.minibatch import Schedule


@pytest.fixture(scope="module")
def borrowed() -> dict:
    train, test = made_tokens(0), made_tokens(1)
    modules = train_nets(train, by_speaker(train), Schedule(25), seed=0)
    said_train, said = (outputs_of(modules, tokens.features) for tokens in (train, test))
    parts = train, test, said_train, said
    return remove_modules(*parts, 12, 0) | {"configurations": unrestricted_gates(*parts, 12, 0)}


def test_whom_nobody_else_can_serve_needs_his_own_module(borrowed: dict) -> None:
    # Every pattern is another phoneme for every other speaker: without his module all is lost.
    for speaker in borrowed["speakers"]:
        assert borrowed["own"][speaker] < 10
        assert with_all(borrowed, speaker) < 15
        assert borrowed["without"][speaker] > 60
        assert borrowed["best_other"][speaker] > 60
        # The others still have theirs.
        assert borrowed["others"][speaker] < 60
    assert borrowed == json.loads(json.dumps(borrowed))


def test_a_removed_module_has_no_weight_in_the_blend_that_replaces_it(borrowed: dict) -> None:
    for number, blend in enumerate(borrowed["blend"]):
        assert blend[number] == 0
        assert sum(blend) == pytest.approx(1, abs=1e-5)


def test_speakers_are_given_away_where_their_own_share_is_small(borrowed: dict) -> None:
    name = str(CONFIGURATIONS[0])
    shares = dict.fromkeys(borrowed["speakers"], 0.5)
    other = {
        **borrowed,
        "configurations": {name: {"own_share": {**shares, "s1": LEAST_OWN_WEIGHT / 2}}},
    }
    kept = {**borrowed, "configurations": {name: {"own_share": shares}}}
    assert served_by_others([kept, other, other], name) == [(1, "s1"), (2, "s1")]


def test_borrowing_gives_tables_claims_and_figures(borrowed: dict, tmp_path: Path) -> None:
    results = {job.key: borrowed for job in plan(2, True)}
    outcome = conclude(results)
    assert [table.name for table in outcome.tables] == ["removed", "unrestricted_gates"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    # Nobody here can be served by others, and no finding may say so.
    assert not outcome.claims[0].holds
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
