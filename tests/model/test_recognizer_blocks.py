"""The building blocks that a recipe may name, through the recognizer."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

import phoneme_moe
from phoneme_moe.errors import InputError
from phoneme_moe.mixture.networks import functions
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Features, Gating, Model, Network, Task

LENGTHS = torch.tensor([4000, 2600, 3300])
NETWORKS: dict[str, dict[str, Any]] = {
    "classify": {"kind": "tdnn_1989"},
    "recognize": {"kind": "tdnn", "width": 8, "dilations": (1,)},
    "linear": {"kind": "linear"},
    "feed_forward": {"kind": "feed_forward", "hidden": (6, 5)},
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for role, known in functions._REGISTERED.items():
        monkeypatch.setitem(functions._REGISTERED, role, dict(known))


def build(
    task: str,
    num_experts: int = 3,
    expert: str | dict[str, Any] | None = None,
    gate: dict[str, Any] | None = None,
    **model: Any,
) -> Recognizer:
    torch.manual_seed(0)
    layers = NETWORKS[expert or task] if not isinstance(expert, dict) else expert
    if num_experts > 1 or model.get("functions"):
        gate = gate or NETWORKS["linear"]
    names = tuple(f"expert_{index}" for index in range(num_experts))
    return Recognizer(
        Features(sample_rate=tiny.RATE, n_mels=16),
        Task(kind=task, phonemes=tiny.PHONEMES, token_ms=150),
        Model(
            num_experts=num_experts,
            expert=Network(**layers),
            gate=None if gate is None else Gating(**gate),
            **model,
        ),
        tiny.PHONEMES,
        (*names, *model.get("functions", ())),
    ).eval()


def sounds(task: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((3,), 1200) if task == "classify" else LENGTHS
    noise = torch.randn(3, int(lengths.max()), generator=generator)
    return noise * (torch.arange(noise.shape[1]) < lengths[:, None]), lengths


TASKS = ["classify", "recognize"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["linear", "feed_forward"])
@torch.no_grad()
def test_each_kind_of_expert_alone_is_the_plain_model(task: str, kind: str) -> None:
    mixture = build(task, expert=kind)
    together = mixture.recognize_waveforms(*sounds(task))
    mask = together.routing.mask
    assert together.expert_log_posteriors is not None
    sums = together.log_posteriors.exp().sum(-1)[mask]
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)
    for index in range(3):
        alone = build(task, num_experts=1, expert=kind)
        alone.experts.load_state_dict(
            {name: w[index : index + 1] for name, w in mixture.experts.state_dict().items()}
        )
        expected = alone.recognize_waveforms(*sounds(task)).log_posteriors
        of_expert = together.expert_log_posteriors[:, :, index]
        torch.testing.assert_close(of_expert[mask], expected[mask], atol=1e-5, rtol=1e-5)
        sent = mixture.recognize_waveforms(*sounds(task), torch.full((3,), index))
        torch.testing.assert_close(sent.log_posteriors[mask], expected[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("combine", ["weighted_sum", "product", "maximum", "vote"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@torch.no_grad()
def test_permuting_experts_with_their_gate_rows_changes_nothing(
    task: str, combine: str, activation: str
) -> None:
    gate = {"kind": "linear", "activation": activation}
    mixture = build(task, expert="linear", gate=gate, combine=combine)
    before = mixture.recognize_waveforms(*sounds(task))
    order = torch.tensor([2, 0, 1])
    for parameter in mixture.experts.parameters():
        parameter.copy_(parameter[order].clone())
    assert mixture.gate is not None
    for parameter in mixture.gate.parameters():
        parameter.copy_(parameter[..., order].clone())
    after = mixture.recognize_waveforms(*sounds(task))
    real = before.routing.mask
    torch.testing.assert_close(after.log_posteriors[real], before.log_posteriors[real])
    torch.testing.assert_close(after.routing.weights, before.routing.weights[..., order])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("combine", ["weighted_sum", "product", "maximum"])
@torch.no_grad()
def test_a_certain_gate_is_its_expert(task: str, combine: str) -> None:
    mixture = build(task, gate={"kind": "fixed", "weights": (0, 0, 5)}, combine=combine)
    certain = mixture.recognize_waveforms(*sounds(task))
    alone = mixture.recognize_waveforms(*sounds(task), torch.tensor([2, 2, 2]))
    real = certain.routing.mask
    torch.testing.assert_close(certain.log_posteriors[real], alone.log_posteriors[real])
    assert torch.equal(certain.routing.weights, alone.routing.weights)


def say(*posteriors: tuple[float, ...]) -> tuple[str, ...]:
    """Registers experts that always say the same; gives their names."""
    for index, probabilities in enumerate(posteriors):
        scores = torch.tensor(probabilities).log()
        phoneme_moe.register_expert(f"says_{index}", lambda f, m, s=scores: s[None, None])
    return tuple(f"says_{index}" for index in range(len(posteriors)))


HAND = {
    "weighted_sum": [0.5 * 0.4 + 0.3 * 0.1 + 0.2 * 0.2, 0.5 * 0.3 + 0.3 * 0.7 + 0.2 * 0.6],
    "product": [0.4**0.5 * 0.1**0.3 * 0.2**0.2, 0.3**0.5 * 0.7**0.3 * 0.6**0.2],
    "maximum": [0.4, 0.3],
    "vote": [0.5, 0.5],
}
"""Of the first two outputs, before normalising; the third and fourth have 0.1 or what is left."""


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("combine", HAND)
@torch.no_grad()
def test_rules_worked_by_hand(task: str, combine: str) -> None:
    posteriors = [(0.4, 0.3, 0.2, 0.1), (0.1, 0.7, 0.1, 0.1), (0.2, 0.6, 0.1, 0.1)]
    if task == "recognize":
        # The blank is an output too; it is given next to nothing.
        posteriors = [(1e-9, *row) for row in posteriors]
    first, *others = say(*posteriors)
    mixture = Recognizer(
        Features(sample_rate=tiny.RATE, n_mels=16),
        Task(kind=task, phonemes=tiny.PHONEMES),
        Model(
            expert=Network(kind="function", function=first),
            functions=tuple(others),
            gate=Gating(kind="fixed", weights=(5, 3, 2)),
            combine=combine,
        ),
        tiny.PHONEMES,
        (first, *others),
    )
    found = mixture.recognize_waveforms(*sounds(task))
    real = found.routing.mask
    assert real.any(dim=1).all()
    posteriors = found.log_posteriors.exp()[real][..., -4:]
    ratio = posteriors[:, 0] / posteriors[:, 1]
    expected = HAND[combine][0] / HAND[combine][1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posteriors.sum(-1), torch.ones(len(posteriors)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_raw_sigmoids_are_kept_and_their_blend_is_normalised(task: str) -> None:
    mixture = build(task, gate={"kind": "linear", "activation": "sigmoid"})
    found = mixture.recognize_waveforms(*sounds(task))
    real = found.routing.mask
    raw = found.routing.probabilities[real]
    assert (raw.sum(-1) - 1).abs().mean() > 0.1
    assert found.expert_log_posteriors is not None
    blend = (raw[..., None] * found.expert_log_posteriors.exp()[real]).sum(dim=1)
    expected = blend / blend.sum(-1, keepdim=True)
    torch.testing.assert_close(found.log_posteriors.exp()[real], expected, atol=1e-5, rtol=1e-5)
    shares = found.routing.weights[real]
    torch.testing.assert_close(shares, raw / raw.sum(-1, keepdim=True), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_raw_sigmoids_are_exponents_of_a_product(task: str) -> None:
    mixture = build(task, gate={"kind": "linear", "activation": "sigmoid"}, combine="product")
    found = mixture.recognize_waveforms(*sounds(task))
    real = found.routing.mask
    assert found.expert_log_posteriors is not None
    raw = found.routing.probabilities[real]
    product = found.expert_log_posteriors.exp()[real].pow(raw[..., None]).prod(dim=1)
    expected = product / product.sum(-1, keepdim=True)
    torch.testing.assert_close(found.log_posteriors.exp()[real], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_a_function_may_stand_beside_networks_and_be_sent_to(task: str) -> None:
    outputs = 4 if task == "classify" else 5
    (name,) = say(tuple(0.1 + 0.1 * index for index in range(outputs)))
    mixture = build(task, num_experts=2, functions=(name,))
    plain = build(task, num_experts=2)
    found = mixture.recognize_waveforms(*sounds(task))
    real = found.routing.mask
    assert found.routing.weights.shape[-1] == 3
    assert found.expert_log_posteriors is not None
    networks = plain.recognize_waveforms(*sounds(task)).expert_log_posteriors
    assert networks is not None
    torch.testing.assert_close(found.expert_log_posteriors[:, :, :2], networks)
    expected = torch.arange(1, outputs + 1) / sum(range(1, outputs + 1))
    torch.testing.assert_close(
        found.expert_log_posteriors[:, :, 2].exp()[real],
        expected.expand(int(real.sum()), outputs),
    )
    for expert in (torch.tensor([2, 1, 2]), torch.tensor([0, 1, 0])):
        sent = mixture.recognize_waveforms(*sounds(task), expert)
        chosen = found.expert_log_posteriors[torch.arange(3), :, expert]
        torch.testing.assert_close(sent.log_posteriors[real], chosen[real], atol=1e-5, rtol=1e-5)
        assert torch.equal(sent.routing.weights[:, 0].argmax(-1), expert)


@torch.no_grad()
def test_a_function_may_be_the_gate() -> None:
    def ramp(features: Tensor, mask: Tensor) -> Tensor:
        """More and more of the last expert as time goes by."""
        time = torch.arange(features.shape[1], dtype=features.dtype)
        return torch.stack([-time, torch.zeros_like(time), time], dim=-1)[None]

    phoneme_moe.register_gate("ramp", ramp)
    mixture = build("recognize", gate={"kind": "function", "function": "ramp"})
    routing = mixture.recognize_waveforms(*sounds("recognize")).routing
    expected = ramp(torch.zeros(3, routing.mask.shape[1], 16), routing.mask).softmax(-1)
    torch.testing.assert_close(routing.weights, expected.expand(3, -1, -1))
    with pytest.raises(InputError, match=r"function 'ramp': found scores of shape \(1, 15, 3\)"):
        build("classify", gate={"kind": "function", "function": "ramp"}).recognize_waveforms(
            *sounds("classify")
        )


def test_a_gate_that_is_the_speaker_needs_one() -> None:
    mixture = build("recognize", gate={"kind": "speaker"})
    with pytest.raises(InputError, match=r"gate is of kind speaker, .*expert_0, expert_1"):
        mixture.recognize_waveforms(*sounds("recognize"))
    expert = torch.tensor([1, 0, 2])
    found = mixture.recognize_waveforms(*sounds("recognize"), expert)
    assert torch.equal(found.routing.weights[:, 0].argmax(-1), expert)


def test_a_fixed_gate_has_a_weight_for_each_expert() -> None:
    with pytest.raises(InputError) as caught:
        build("recognize", gate={"kind": "fixed", "weights": (1, 2)})
    assert str(caught.value) == (
        "model.gate.weights: found 2, expected 3, one for each of expert_0, expert_1, expert_2"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            {"gate": {"kind": "function", "function": "unifrom"}},
            "model.gate.function: found 'unifrom', which is not registered "
            "(phoneme_moe.register_gate) (did you mean 'uniform'?)",
        ),
        ({"functions": ("zz",)}, "model.functions: found 'zz', which is not registered"),
        (
            {"num_experts": 1, "expert": {"kind": "function", "function": "zz"}},
            "model.expert.function: found 'zz', which is not registered",
        ),
    ],
)
def test_an_unregistered_function_is_named_with_its_key(model: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        build("recognize", **model)
    assert words in str(caught.value)
