"""Adapting to an unseen speaker, on synthetic tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from synthetic_tokens import made_tokens

from phoneme_moe_reproductions.gating import blend, gate_weights, new_gates
from phoneme_moe_reproductions.multi_speaker import OBJECTIVES
from phoneme_moe_reproductions.novel_speaker import EXPERIMENT
from phoneme_moe_reproductions.novel_speaker.findings import conclude
from phoneme_moe_reproductions.novel_speaker.systems import (
    SIZES,
    adapt_to_all,
    add_rehearsal,
    copy_output,
    draw_tokens,
    plan,
    replace_module,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adapted() -> dict:
    return adapt_to_all(made_tokens(0), made_tokens(1), epochs=25, gate_epochs=12, seed=0)


def test_only_a_new_expert_serves_whom_no_old_one_can(adapted: dict) -> None:
    assert set(adapted) == {"s0", "s1", "s2"}
    for result in adapted.values():
        assert len(result["gate"]) == len(result["expert"]) == len(SIZES)
        # The old modules call every sound of his by another name, whatever the gate does.
        assert result["none"] > 60
        assert result["gate"][-1] > 30
        assert result["own"] < 10
    # Few steps here, so not for everyone yet.
    gain = [result["gate"][-1] - result["expert"][-1] for result in adapted.values()]
    assert min(gain) >= 0
    assert sum(gain) / len(gain) > 10
    assert adapted == json.loads(json.dumps(adapted))


def test_as_many_tokens_of_each_phoneme_are_drawn_of_the_speaker() -> None:
    tokens = made_tokens(0)
    drawn = draw_tokens(tokens, 1, 5, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == 15
    assert set(tokens.speaker[drawn].tolist()) == {1}
    assert torch.bincount(tokens.phoneme[drawn]).tolist() == [5, 5, 5]
    # Not more than there are.
    assert len(draw_tokens(tokens, 1, 1000, torch.Generator().manual_seed(0))) == 90


def test_adaptation_with_rehearsal_is_half_new_and_half_old() -> None:
    tokens = made_tokens(0)
    new = draw_tokens(tokens, 2, 1, torch.Generator().manual_seed(0))
    indices = add_rehearsal(tokens, 2, new, torch.Generator().manual_seed(1))
    is_new = tokens.speaker[indices] == 2
    assert is_new.float().mean().item() == pytest.approx(0.5)
    assert set(indices[is_new].tolist()) == set(new.tolist())


def test_a_new_expert_with_its_sources_scores_and_answers_changes_no_answer() -> None:
    tokens = made_tokens(0, each=3)
    for modules in (3, 6):  # a row for each module, as in the paper's gate of six, and without
        gates = new_gates(tokens, modules, seed=0, num_groups=2)
        source, place = torch.tensor([0, 1]), torch.tensor([2, 2])
        allowed = torch.ones(2, modules, dtype=torch.bool)
        allowed[:, 2] = False
        outputs = torch.rand(modules, len(OBJECTIVES), len(tokens), 3)
        before = blend(gate_weights(gates, tokens.features, allowed=allowed), outputs)
        with torch.no_grad():
            copy_output(gates, source, place)
        weights = gate_weights(gates, tokens.features)
        row = torch.arange(2)
        torch.testing.assert_close(weights[row, ..., place], weights[row, ..., source])
        replaced = replace_module(outputs, outputs[source], place)
        for group in range(2):
            # Its source's share is larger by the copy's; the others keep their proportions.
            rest = [k for k in range(modules) if k not in (int(source[group]), 2)]
            kept = gate_weights(gates, tokens.features, allowed=allowed)
            ratio = weights[group][..., rest[0]] / weights[group][..., int(source[group])]
            wanted = kept[group][..., rest[0]] / kept[group][..., int(source[group])]
            torch.testing.assert_close(ratio, wanted)
            assert torch.equal(replaced[group, 2], outputs[int(source[group])])
        assert before.shape == blend(weights, outputs).shape


def test_adapting_gives_tables_claims_and_figures(adapted: dict, tmp_path: Path) -> None:
    results = {job.key: adapted for job in plan(2, True)}
    outcome = conclude(results)
    assert [table.name for table in outcome.tables] == ["curve", "speakers"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
