"""``docs/recipe_keys.md``: every key of a recipe, from the pydantic sections and their docstrings.

``python -m benchmarks.recipe_keys`` writes the page; a test holds it against the sections.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from phoneme_moe.files.writing import write_text
from phoneme_moe.recipe import Recipe
from phoneme_moe.recipe.section import Section

PAGE = Path(__file__).parents[1] / "docs" / "recipe_keys.md"

_INTRODUCTION = """\
# Keys of a recipe

Generated from `phoneme_moe/recipe/` by `python -m benchmarks.recipe_keys`. A key without a
default must be given; an unknown key is an error. On the command line a key is set by its whole
name, `--set model.gate.width=32`, and a stage is addressed by its name,
`--set training.stages.gate.epochs=7`. Editors that know JSON Schema check and complete recipes
with [schemas/recipe.schema.json](schemas/recipe.schema.json).
"""

_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.M)


def sections(
    section: type[Section] = Recipe, path: str = ""
) -> Iterator[tuple[str, type[Section]]]:
    """The sections of a recipe by their dotted paths, from the top."""
    yield path, section
    for key, field in section.model_fields.items():
        for below in _sections_in(field.annotation):
            repeated = "[]" if "tuple" in str(field.annotation) else ""
            yield from sections(below, f"{path}.{key}{repeated}".removeprefix("."))


def _sections_in(annotation: Any) -> list[type[Section]]:
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]


def meanings(section: type[Section]) -> dict[str, str]:
    """What the docstrings of a section and its bases say of each key, in one line."""
    found: dict[str, str] = {}
    for cls in (base for base in reversed(section.__mro__) if issubclass(base, Section)):
        docstring = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        for name, text in _ENTRY.findall(docstring.partition("Attributes:\n")[2]):
            found[name] = " ".join(text.split()).replace("``", "`")
    return found


def values_text(schema: dict[str, Any]) -> str:
    """The values that a JSON Schema allows, for people."""
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        parts = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(map(values_text, parts))
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}: {values_text(schema['prefixItems'][0])}"
        return f"list: {values_text(schema['items'])}"
    if kind == "object":
        return f"by name: {values_text(schema['additionalProperties'])}"
    if kind in {"integer", "number"}:
        return ("whole number" if kind == "integer" else "number") + _range(schema)
    return {"boolean": "`true`, `false`", "string": "text"}[str(kind)]


def _range(schema: dict[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    parts = [("from", low), ("above", above), ("to", high), ("below", below)]
    return "".join(f" {word} {limit:,.12g}" for word, limit in parts if limit is not None)


def default_text(field: FieldInfo, schema: dict[str, Any]) -> str:
    """The default of a key as in YAML; "" if it must be given."""
    if field.default is PydanticUndefined:
        return ""
    default = dict(field.default) if schema.get("type") == "object" else field.default
    return f"`{json.dumps(default)}`"


def page() -> str:
    """The whole page in Markdown."""
    definitions = Recipe.model_json_schema()
    schemas = {"Recipe": definitions, **definitions["$defs"]}
    lines = [_INTRODUCTION]
    shown: set[str] = set()
    for path, section in sections():
        summary = inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0]
        heading = f"`{path}`" if path else "Top level"
        if path in shown:  # another kind of the same section
            heading += f", kind `{get_args(section.model_fields['kind'].annotation)[0]}`"
        shown.add(path)
        lines += [
            f"## {heading}\n",
            " ".join(summary.split()).replace("``", "`") + "\n",
            "| key | default | values | meaning |",
            "| --- | --- | --- | --- |",
        ]
        described = meanings(section)
        for key, field in section.model_fields.items():
            if _sections_in(field.annotation):
                default = "`null`" if field.default is None else ""
                cells = [f"`{key}`", default, "a section, below", described[key]]
            else:
                schema = schemas[section.__name__]["properties"][key]
                cells = [
                    f"`{key}`",
                    default_text(field, schema),
                    values_text(schema),
                    described[key],
                ]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Writes the page."""
    write_text(PAGE, page())
    print(PAGE)


if __name__ == "__main__":
    main()
