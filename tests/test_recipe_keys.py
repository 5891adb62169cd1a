"""The reference of recipe keys is that of the sections, which describe all of their keys."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from benchmarks.recipe_keys import PAGE, meanings, page, sections
from benchmarks.schemas import SCHEMAS
from phoneme_moe.recipe import shipped_recipes
from phoneme_moe.recipe.section import Section

SECTIONS = {path or "top": section for path, section in sections()}


@pytest.mark.parametrize("path", SECTIONS)
def test_a_section_describes_exactly_its_keys(path: str) -> None:
    section: type[Section] = SECTIONS[path]
    assert set(meanings(section)) == set(section.model_fields)


def test_every_section_is_reached() -> None:
    def below(section: type[Section]) -> set[type[Section]]:
        return {section}.union(*(below(one) for one in section.__subclasses__()))

    leaves = {one for one in below(Section) if not one.__subclasses__()}
    assert leaves - {section for _, section in sections()} == set()


def test_the_committed_page_is_that_of_the_sections() -> None:
    committed = PAGE.read_text(encoding="utf-8")
    assert committed == page(), "run: python -m benchmarks.recipe_keys"


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_fits_the_schema(name: str) -> None:
    schema = json.loads((SCHEMAS / "recipe.schema.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load(shipped_recipes()[name].read_text(encoding="utf-8"))
    jsonschema.validate(recipe, schema)
