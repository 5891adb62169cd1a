"""Models of which only the shapes of the weights are wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.model.shapes import shapes_only
from phoneme_moe.recipe import load_recipe

PHONEMES = ("a", "b", "c")
RECIPES = [
    "announcer_words",
    "deepseek",
    "dense",
    "learners",
    "hampshire_waibel",
    "hierarchical",
    "soft",
]


def _recognizer(name: str) -> Recognizer:
    recipe = load_recipe(name)
    return Recognizer(recipe.features, recipe.task, recipe.model, PHONEMES, ("e0", "e1", "e2"))


@pytest.mark.parametrize("name", RECIPES)
def test_shapes_are_those_of_the_model(name: str) -> None:
    expected = {key: value.shape for key, value in _recognizer(name).state_dict().items()}
    with shapes_only():
        recognizer = _recognizer(name)
    found = recognizer.state_dict()
    assert {key: value.shape for key, value in found.items()} == expected
    assert all(
        weight.is_meta
        for key, weight in found.items()
        if not key.startswith(("front_end.", "log_mel."))
    )
    # Only there: a model built afterwards has values.
    assert not torch.randn(3).is_meta


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_compiler_stays_out(name: str) -> None:
    """Importing it would take longer than all else of a short command."""
    program = f"""
import sys
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.model.shapes import shapes_only
from phoneme_moe.recipe import load_recipe
recipe = load_recipe({name!r})
with shapes_only():
    Recognizer(recipe.features, recipe.task, recipe.model, {PHONEMES!r}, ("e0",))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
