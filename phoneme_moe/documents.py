"""Documents: pydantic models of the JSON files that the package writes and reads."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from phoneme_moe.errors import InputError, suggest

_WORDS = {
    "^Input should be ": "expected ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid dictionary.*": "an object",
}
"""Replacements in the messages of pydantic."""


class Document(BaseModel):
    """A JSON document: frozen, strictly typed, without unknown keys.

    ``python -m benchmarks.schemas`` writes the JSON Schemas of the documents.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validates plain data.

        Args:
            data: Parsed content of the file.
            where: The file, and the key within it if any, for error messages.

        Raises:
            InputError: A key is wrong; the message names it with what was found and expected.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(f"{where}: {first_problem(error, cls)}") from error

    @classmethod
    def parse_json(cls, text: str | bytes, where: str) -> Self:
        """Validates JSON text.

        Args:
            text: Content of the file.
            where: The file, and the key within it if any, for error messages.

        Raises:
            InputError: The text is not JSON, or as for ``parse``.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                raise InputError(f"{where}: not valid JSON") from error
            raise InputError(f"{where}: {first_problem(error, cls)}") from error


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Formats the first error as one line: the dotted key, what was found and what was expected.

    Args:
        error: The error of a validation.
        model: The model of the validation.
    """
    problem = error.errors(include_url=False)[0]
    # pydantic includes the branch of a union in the path; users know only the keys.
    keys = [str(p) for p in problem["loc"] if not str(p).startswith(("constrained-", "literal["))]
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}{suggest(keys[-1], _keys_beside(keys, model))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    value = repr(problem.get("input"))
    value = value if len(value) <= 80 else f"{value[:80]}..."
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    text = f"found {value}, {message[0].lower()}{message[1:]}"
    return f"{key}: {text}" if key else text


def _keys_beside(keys: list[str], model: type[BaseModel]) -> list[str]:
    """The valid keys of the section with an unknown key."""
    section = model
    for key in keys[:-1]:
        if key not in section.model_fields:  # an index of a list, a key of a mapping
            continue
        annotation = section.model_fields[key].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), BaseModel
        )
    return list(section.model_fields)
