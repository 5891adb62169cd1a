"""Nothing that a training step or a forward pass makes lies on the processor by default.

There is no GPU where these tests run. What would fail there first is a tensor that is made without
saying where, so every one that is made is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from phoneme_moe.data.examples import Example
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.loaders import ExampleBatches
from phoneme_moe.training.module import StageModule

FACTORIES = {
    torch.arange,
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tensor,
    torch.zeros,
}


class SaysWhere(TorchFunctionMode):
    """Refuses tensors that are made without a device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        assert func not in FACTORIES or kwargs.get("device") is not None, (
            f"torch.{func.__name__} without a device"
        )
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    "recipe_name",
    [
        "dense",
        "deepseek",
        "expert_choice",
        "hampshire_waibel",
        "hierarchical",
        "noisy_topk",
        "six_speakers_digits",
        "soft",
        "speaker_routed",
        "switch",
        "top_2",
        "upcycled",
    ],
)
def test_every_tensor_of_a_step_says_where_it_lies(recipe_name: str) -> None:
    recipe = load_recipe(recipe_name)
    phonemes, speakers = ("B", "D", "G"), tuple("abcdef")
    encoder = recipe.model.encoder is not None
    recognizer = Recognizer(
        recipe.features,
        recipe.task,
        recipe.model,
        phonemes,
        ("encoder",) if encoder else speakers,
    )
    said = phonemes if recipe.task.kind == "recognize" else phonemes[:1]
    examples = [
        Example(f"u{frames}", "a", said, torch.randn(frames, recognizer.front_end.num_features))
        for frames in (80, 110)
    ]
    batch = ExampleBatches(examples, recognizer)[[0, 1]]
    module = StageModule(recognizer, recipe, len(recipe.training.stages) - 1)
    module.freeze_parts()
    waveforms, num_samples = torch.randn(2, 9000), torch.tensor([9000, 8000])
    with SaysWhere():
        module.training_step(batch, 0)
        recognizer.eval()
        recognizer(batch.features, batch.mask, batch.speaker)
        recognizer.recognize_waveforms(waveforms, num_samples)


def test_one_that_does_not_is_seen() -> None:
    with SaysWhere(), pytest.raises(AssertionError, match=r"torch\.arange without a device"):
        torch.arange(3)
