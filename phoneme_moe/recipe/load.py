"""Loading and validation of recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.files.documents import first_problem
from phoneme_moe.files.yaml_files import parse_yaml, read_yaml
from phoneme_moe.recipe.data import Recipe


def shipped_recipes() -> dict[str, Path]:
    """Paths of the shipped recipes by name."""
    package = Path(__file__).parents[1]
    # Inside the package if installed from a wheel, else at the top of the checkout.
    folder = next(f for f in (package / "recipes", package.parent / "recipes") if f.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Loads and validates a recipe.

    Args:
        name_or_path: Name of a shipped recipe, or path of a YAML file.
        changes: Settings to change, each ``section.key=value`` with the value in YAML.

    Raises:
        InputError: The recipe is unknown or unreadable, or a key or value is wrong.
    """
    text = str(name_or_path)
    recipes = shipped_recipes()
    if text in recipes:
        path = recipes[text]
    elif Path(text).suffix in {".yaml", ".yml"} or Path(text).is_file():
        path = Path(text)
    else:
        hint = suggest(text, recipes)
        raise InputError(f"no recipe named {text!r}{hint}, and no file of that name")
    data = read_yaml(path)
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise InputError(f"{path}: found {found}, expected keys and values")
    for change in changes:
        _apply_change(data, change)
    return validate_recipe(data, str(path))


def validate_recipe(data: Any, source: str) -> Recipe:
    """Validates the content of a recipe file.

    Args:
        data: Nested dictionaries, from YAML or JSON.
        source: Origin of the data, for error messages.

    Raises:
        InputError: A key is wrong; the message names it with what was found and expected.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: {first_problem(error, Recipe)}") from error


def _apply_change(data: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise ArgumentError("changes", f"{change!r}: expected section.key=value")
    *sections, last = key.split(".")
    target: Any = data
    for section in sections:
        # A stage is reached by its name, as in training.stages.gate.epochs.
        if isinstance(target, list):
            entries = [item for item in target if isinstance(item, dict)]
            named = [item for item in entries if item.get("name") == section]
            if not named:
                known = [str(item.get("name")) for item in entries]
                problem = f"{key}: no {section!r} there{suggest(section, known)}"
                raise ArgumentError("changes", problem)
            target = named[0]
        else:
            target = target.setdefault(section, {})
        if not isinstance(target, dict | list):
            raise ArgumentError("changes", f"{key}: {section!r} is a value, not a section")
    if not isinstance(target, dict):
        raise ArgumentError("changes", f"{key}: expected the name of an entry before {last!r}")
    try:
        target[last] = parse_yaml(value, "the value")
    except InputError as error:
        raise ArgumentError("changes", f"{key}: {error}") from error
