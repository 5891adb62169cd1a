from __future__ import annotations

import pytest
import tiny
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training import cached_experts
from phoneme_moe.training.cached_experts import (
    expert_posteriors_are_constant,
    with_expert_posteriors,
)
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.stages import build_recognizer

SPEAKERS = ["ann", "bob", "carol"]
GATE = 1
"""Index of the gate's stage in both tiny recipes."""


def setting(name: str, tones: PreparedCorpus) -> tuple[StageModule, list[Example]]:
    recipe = load_recipe(tiny.RECIPES / f"{name}.yaml")
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "dev", recognizer, SPEAKERS)
    module = StageModule(recognizer, recipe, GATE)
    module.freeze_parts()
    return module, examples


def loss_and_gradients(
    module: StageModule, examples: list[Example]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    recognizer: Recognizer = module.recognizer
    batch = collate(examples, recognizer, {name: i for i, name in enumerate(SPEAKERS)})
    loss = module.loss(module.recognize(batch, batch.features, batch.mask), batch)
    assert recognizer.gate is not None
    return loss, list(torch.autograd.grad(loss, list(recognizer.gate.parameters())))


@pytest.mark.parametrize("name", ["tiny_recognize", "tiny_classify"])
def test_kept_posteriors_teach_the_gate_the_same(name: str, tones: PreparedCorpus) -> None:
    module, examples = setting(name, tones)
    asked = loss_and_gradients(module, examples)
    kept = list(with_expert_posteriors(examples, module.recognizer))
    assert [e.utterance for e in kept] == [e.utterance for e in examples]
    torch.testing.assert_close(loss_and_gradients(module, kept), asked, atol=1e-6, rtol=1e-4)


def test_kept_posteriors_are_used(tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    module, examples = setting("tiny_recognize", tones)
    kept = list(with_expert_posteriors(examples, module.recognizer))
    monkeypatch.setattr(module.recognizer.experts, "forward", None)
    loss_and_gradients(module, kept)


def test_experts_repeat_themselves_only_while_frozen_and_without_augmentation() -> None:
    recipe = load_recipe(tiny.RECIPES / "tiny_recognize.yaml")
    experts, gate, joint = recipe.training.stages
    assert expert_posteriors_are_constant(gate, recipe)
    assert not expert_posteriors_are_constant(experts, recipe)
    assert not expert_posteriors_are_constant(joint, recipe)
    augmented = gate.model_copy(update={"augmentation": None})
    assert not expert_posteriors_are_constant(augmented, recipe)
    plain = load_recipe(tiny.RECIPES / "tiny_recognize.yaml", ["training.augmentation={}"])
    assert expert_posteriors_are_constant(augmented, plain)


def test_posteriors_that_need_too_much_memory_are_not_kept(
    tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, examples = setting("tiny_recognize", tones)
    assert cached_experts.posteriors_fit_in_memory(examples, module.recognizer)
    kept = with_expert_posteriors(examples, module.recognizer)
    used = sum(e.expert_log_posteriors.nbytes for e in kept if e.expert_log_posteriors is not None)
    monkeypatch.setattr(cached_experts, "LARGEST_BYTES", 0.9 * used)
    assert not cached_experts.posteriors_fit_in_memory(examples, module.recognizer)
