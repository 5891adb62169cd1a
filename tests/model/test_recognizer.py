from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Features, Gating, Model, Network, Recipe, Task

LENGTHS = torch.tensor([4000, 2600, 3300])


def small(num_experts: int = 3, stack: int = 2) -> Recognizer:
    torch.manual_seed(0)
    network = Network(width=16, dilations=(1, 2))
    return Recognizer(
        Features(sample_rate=tiny.RATE, n_mels=16, stack=stack),
        Task(kind="recognize"),
        Model(
            num_experts=num_experts,
            expert=network,
            gate=Gating(width=8, dilations=(1,)) if num_experts > 1 else None,
        ),
        tiny.PHONEMES,
        tuple(f"expert_{index}" for index in range(num_experts)),
    ).eval()


def small_classifier() -> Recognizer:
    torch.manual_seed(0)
    network = Network(kind="tdnn_1989")
    return Recognizer(
        Features(sample_rate=12_000, n_mels=16, normalization="range"),
        Task(kind="classify", phonemes=("b", "d", "g")),
        Model(num_experts=2, expert=network, gate=Gating(kind="tdnn_1989")),
        ("b", "d", "g"),
        ("ann", "bob"),
    ).eval()


def sounds() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    loudness = torch.rand(3, 1, generator=generator)
    noise = torch.randn(3, int(LENGTHS.max()), generator=generator) * loudness
    return noise * (torch.arange(noise.shape[1]) < LENGTHS[:, None])


@pytest.mark.parametrize("num_experts", [1, 3])
def test_posteriors_and_routing_of_every_real_frame_sum_to_one(num_experts: int) -> None:
    recognition = small(num_experts).recognize_waveforms(sounds(), LENGTHS)
    mask = recognition.routing.mask
    assert mask.sum(dim=1).tolist() == [25, 16, 21]
    assert recognition.log_posteriors.shape == (3, 25, 5)
    assert recognition.routing.weights.shape == (3, 25, num_experts)
    for values in (recognition.log_posteriors.exp(), recognition.routing.weights):
        sums = values.sum(dim=-1)[mask]
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


@pytest.mark.parametrize("expert", [None, torch.tensor([2, 0, 2])])
@given(padding=st.integers(1, 3000))
@settings(max_examples=10)
def test_padding_changes_no_answer(expert: Tensor | None, padding: int) -> None:
    recognizer = small()
    padded = torch.nn.functional.pad(sounds(), (0, padding), value=5.0)
    together = recognizer.recognize_waveforms(padded, LENGTHS, expert)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = recognizer.recognize_waveforms(
            sounds()[row : row + 1, :length],
            LENGTHS[row : row + 1],
            None if expert is None else expert[row : row + 1],
        )
        frames = int(alone.routing.mask.sum())
        assert int(together.routing.mask[row].sum()) == frames
        torch.testing.assert_close(
            together.log_posteriors[row, :frames],
            alone.log_posteriors[0, :frames],
            atol=1e-4,
            rtol=1e-4,
        )
        torch.testing.assert_close(
            together.routing.weights[row, :frames],
            alone.routing.weights[0, :frames],
            atol=1e-5,
            rtol=1e-4,
        )


def test_routing_to_experts_equals_computing_all_and_selecting() -> None:
    recognizer = small()
    features, mask = recognizer.front_end(sounds(), LENGTHS)
    expert = torch.tensor([1, 1, 0])
    routed = recognizer(features, mask, expert)
    from phoneme_moe.features.log_mel import stack_frames

    stacked, stacked_mask = stack_frames(features, mask, 2)
    every = recognizer.experts(stacked, stacked_mask)
    chosen = every[torch.arange(3), :, expert]
    torch.testing.assert_close(
        routed.log_posteriors[stacked_mask], chosen[stacked_mask], atol=1e-5, rtol=1e-5
    )
    assert torch.equal(routed.routing.weights[:, 0].argmax(-1), expert)


def test_an_expert_without_utterances_learns_nothing() -> None:
    recognizer = small()
    features, mask = recognizer.front_end(sounds(), LENGTHS)
    recognizer(features, mask, torch.tensor([2, 0, 2])).log_posteriors[..., 1].sum().backward()
    for parameter in recognizer.experts.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        learnt = parameter.grad.flatten(1).abs().amax(dim=1) > 0
        assert learnt.tolist() == [True, False, True]
    assert recognizer.gate is not None
    assert all(parameter.grad is None for parameter in recognizer.gate.parameters())


def test_one_expert_is_the_plain_network() -> None:
    recognizer = small(num_experts=1, stack=1)
    features, mask = recognizer.front_end(sounds(), LENGTHS)
    plain = recognizer.experts(features, mask)[:, :, 0]
    found = recognizer(features, mask).log_posteriors
    torch.testing.assert_close(found[mask], plain[mask], atol=1e-5, rtol=1e-5)


def test_the_gate_alone_decides_the_blend() -> None:
    recognizer = small()
    assert recognizer.gate is not None
    features, mask = recognizer.front_end(sounds(), LENGTHS)
    with torch.no_grad():
        recognizer.gate.network.output.weight.zero_()
        recognizer.gate.network.output.bias.copy_(torch.tensor([-1e4, 0.0, -1e4]))
    certain = recognizer(features, mask)
    alone = recognizer(features, mask, torch.tensor([1, 1, 1]))
    real = certain.routing.mask
    torch.testing.assert_close(
        certain.log_posteriors[real], alone.log_posteriors[real], atol=1e-5, rtol=1e-5
    )


def test_a_classifier_answers_once_for_each_token() -> None:
    recognizer = small_classifier()
    assert recognizer.token_samples == 1800
    tokens = torch.randn(4, 1800)
    recognition = recognizer.recognize_waveforms(tokens, torch.full((4,), 1800))
    assert recognition.log_posteriors.shape == (4, 1, 3)
    assert recognition.routing.weights.shape == (4, 1, 2)
    assert recognition.routing.mask.shape == (4, 1)


def test_a_frame_lasts_as_long_as_its_samples() -> None:
    assert small(stack=1).frame_seconds == pytest.approx(0.01)
    assert small(stack=3).frame_seconds == pytest.approx(0.03)
    assert small_classifier().frame_seconds == pytest.approx(0.01)


def test_level_does_not_change_the_answer(recognize_recipe: Recipe) -> None:
    recognizer = small()
    loud = recognizer.recognize_waveforms(sounds(), LENGTHS).log_posteriors
    quiet = recognizer.recognize_waveforms(sounds() * 0.02, LENGTHS).log_posteriors
    np.testing.assert_allclose(loud.detach().numpy(), quiet.detach().numpy(), atol=2e-3)
