"""``phoneme-moe recipes``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from phoneme_moe.cli.completion import recipe_names
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.system.terminal import print_error


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a recipe.", show_default="list all", autocompletion=recipe_names
        ),
    ] = None,
) -> None:
    """List the built-in recipes, or print one to copy: recipes quick > mine.yaml."""
    from phoneme_moe.recipe import load_recipe, shipped_recipes

    known = shipped_recipes()
    if name is not None:
        if name not in known:
            raise InputError(f"no recipe named {name!r}{suggest(name, known)}")
        sys.stdout.write(known[name].read_text(encoding="utf-8"))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from phoneme_moe.system.console import PlainConsole

    table = Table(box=SIMPLE_HEAD)
    table.add_column("recipe", no_wrap=True)
    table.add_column("corpus")
    table.add_column("description")
    for shipped in known:
        recipe = load_recipe(shipped)
        table.add_row(shipped, recipe.corpus.name.replace("+", " + "), recipe.description)
    PlainConsole().print(table)
    print_error("to copy one: phoneme-moe recipes NAME > mine.yaml; to train it: phoneme-moe train")
