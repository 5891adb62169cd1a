"""Gates over modules: their weights, and that gates side by side are independent."""

from __future__ import annotations

import pytest
import torch
from synthetic_tokens import made_tokens

from phoneme_moe.mixture.networks.tdnn_1989 import take
from phoneme_moe.training.minibatch import Schedule, shuffled
from phoneme_moe_reproductions.gating import (
    blend,
    gate_weights,
    new_gates,
    scores_of,
    train_meta_pi,
    train_speaker_gate,
)
from phoneme_moe_reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_nets,
)

SHORT = Schedule(12)


@pytest.mark.slow
def test_meta_pi_learns_to_identify_speakers_and_is_accurate() -> None:
    train, test = made_tokens(0), made_tokens(1)
    modules = train_nets(train, by_speaker(train), SHORT, seed=0)
    gate = train_meta_pi(train, outputs_of(modules, train.features), SHORT, seed=0)
    weights = gate_weights(gate, test.features)
    assert weights.shape == (1, len(OBJECTIVES), len(test), 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    outputs = arbitrate(blend(weights[0], outputs_of(modules, test.features)), 0)
    right = (outputs.argmax(-1) == test.phoneme).float().mean().item()
    assert right > 0.9
    # Trained without speaker labels, and yet the own module has most of the weight.
    matched = weights.mean(dim=(0, 1))[torch.arange(len(test)), test.speaker]
    assert matched.mean().item() > 0.7


def test_a_module_that_is_not_allowed_has_no_weight_and_others_take_its_share() -> None:
    tokens = made_tokens(0, each=4)
    gates = new_gates(tokens, 3, seed=0, num_groups=2)
    allowed = torch.tensor([[True, True, True], [True, False, True]])
    weights = gate_weights(gates, tokens.features, allowed=allowed)
    assert (weights[1, ..., 1] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    full = gate_weights(gates, tokens.features)
    ratio = full[1, ..., 0] / full[1, ..., 2]
    torch.testing.assert_close(weights[1, ..., 0] / weights[1, ..., 2], ratio)


def test_gates_side_by_side_learn_as_they_would_alone() -> None:
    tokens = made_tokens(0, each=6)
    outputs = torch.rand(3, len(OBJECTIVES), len(tokens), 3)
    start = new_gates(tokens, 3, seed=5, num_groups=2)
    second = take(start, range(3, 6))
    groups = [torch.arange(len(tokens)), torch.arange(9)]
    # Noise and order differ between the two trainings: with neither, a step is a step.
    schedule = Schedule(1, batch_size=len(tokens))
    quiet = torch.zeros_like
    original = torch.randn_like
    try:
        torch.randn_like = quiet
        together = train_meta_pi(tokens, outputs, schedule, 0, groups=groups, start=start)
        alone = train_meta_pi(tokens, outputs, schedule, 0, groups=groups[1:], start=second)
    finally:
        torch.randn_like = original
    torch.testing.assert_close(
        scores_of(together, tokens.features[None])[1], scores_of(alone, tokens.features[None])[0]
    )


def test_groups_may_have_modules_of_their_own() -> None:
    tokens = made_tokens(0, each=4)
    shared = torch.rand(2, len(OBJECTIVES), len(tokens), 3)
    by_group = torch.stack([shared, shared])
    groups = one_group(tokens) * 2
    schedule = Schedule(2)
    one, other = (
        train_meta_pi(tokens, outputs, schedule, 0, groups=groups) for outputs in (shared, by_group)
    )
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_a_speaker_gate_names_the_speaker() -> None:
    train, test = made_tokens(0), made_tokens(1)
    gate = train_speaker_gate(train, SHORT, seed=0)
    weights = gate_weights(gate, test.features, "sigmoid")[0].mean(dim=0)
    assert (weights.argmax(-1) == test.speaker).float().mean().item() > 0.95


def test_smaller_groups_come_round_again() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = list(shuffled([torch.arange(10), torch.tensor([7, 8, 9])], 4, generator))
    assert [tuple(batch.shape) for batch in batches] == [(2, 4), (2, 4), (2, 2)]
    whole = torch.cat(batches, dim=1)
    assert sorted(whole[0].tolist()) == list(range(10))
    assert set(whole[1].tolist()) == {7, 8, 9}
