"""Recipes: the configuration of a run, as frozen, strictly validated data.

A recipe is one self-contained YAML file without code; an unknown key is an error that names the
key. ``load_recipe`` takes the name of a shipped recipe or a path.
"""

from phoneme_moe.recipe.data import Corpus, LanguageModel, Recipe, Task
from phoneme_moe.recipe.encoder import EncoderSection, Sparse
from phoneme_moe.recipe.features import AnyFeatures, Features, PretrainedFeatures
from phoneme_moe.recipe.load import load_recipe, shipped_recipes, validate_recipe
from phoneme_moe.recipe.model import Adapters, Gating, Model, Network
from phoneme_moe.recipe.router import Balance, Router
from phoneme_moe.recipe.training import Part, Route, Stage, Teacher, Timing, Training
from phoneme_moe.recipe.training_speech import Augmentation, Stream

__all__ = [
    "Adapters",
    "AnyFeatures",
    "Augmentation",
    "Balance",
    "Corpus",
    "EncoderSection",
    "Features",
    "Gating",
    "LanguageModel",
    "Model",
    "Network",
    "Part",
    "PretrainedFeatures",
    "Recipe",
    "Route",
    "Router",
    "Sparse",
    "Stage",
    "Stream",
    "Task",
    "Teacher",
    "Timing",
    "Training",
    "load_recipe",
    "shipped_recipes",
    "validate_recipe",
]
