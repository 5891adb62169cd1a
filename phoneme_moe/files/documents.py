"""Documents: pydantic models of the JSON files that the package writes and reads.

A file may come from a stranger: its size is bounded, and the parser bounds the depth of nesting
(200) and the digits of numbers (4,300).
"""

from __future__ import annotations

import os
import re
import reprlib
import stat
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Tag, ValidationError, model_validator

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.files.text_files import decode_text

_WORDS = {
    "^Input should be ": "expected ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid dictionary.*": "an object",
}
"""Replacements in the messages of pydantic."""

_MAX_BITS = 63

_MAX_SHOWN = 80
"""Most characters of a value in a message."""


class _Short(reprlib.Repr):
    """``repr`` whose cost does not grow with the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 20
        self.maxstring = self.maxother = self.maxlong = _MAX_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits.
        bits = x.bit_length()
        return f"a number of {bits} bits" if bits > 4 * _MAX_SHOWN else super().repr_int(x, level)


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

    max_bytes: ClassVar[int] = 1_000_000
    """Largest file: a wrong value has two bytes or more, and its error takes a kilobyte."""

    @model_validator(mode="after")
    def _numbers_have_64_bits(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, int) and value.bit_length() > _MAX_BITS:
                raise ValueError(f"{name}: found {shorten(value)}, expected at most {_MAX_BITS}")
        return self

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads a JSON file.

        Raises:
            InputError: The file cannot be read, or as for ``parse_json``.
        """
        content = read_limited(file, cls.max_bytes, "JSON")
        return cls.parse_json(decode_text(content, str(file)), str(file))

    @classmethod
    def read_if_present(cls, file: Path) -> Self | None:
        """Reads a JSON file; returns None if nothing has that name.

        Raises:
            InputError: As for ``read``.
        """
        return cls.read(file) if os.path.lexists(file) else None

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
        if len(text) > cls.max_bytes:
            raise InputError(f"{where}: expected at most {cls.max_bytes:,} bytes of JSON")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "json_invalid":
                raise InputError(f"{where}: not valid JSON: {first['ctx']['error']}") from error
            raise InputError(f"{where}: {first_problem(error, cls)}") from error


def read_limited(file: Path, max_bytes: int, kind: str) -> bytes:
    """Reads a file that should be small.

    Args:
        file: The file.
        max_bytes: Its largest size.
        kind: What it should contain, for error messages.

    Raises:
        InputError: It cannot be read, is larger, or as for ``require_regular``.
    """
    require_regular(file, kind)
    try:
        with file.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    if len(content) > max_bytes:
        raise InputError(f"{file}: expected at most {max_bytes:,} bytes of {kind}")
    return content


def require_regular(file: Path, kind: str) -> None:
    """Checks that a path is a regular file: opening a pipe would wait for a writer.

    Args:
        file: The path; links are followed.
        kind: What it should contain, for error messages.

    Raises:
        InputError: There is no such file, or it is something else.
    """
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise InputError(f"{file}: found {found}, expected a file of {kind}")


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Formats the first error as one line: the dotted key, what was found and what was expected.

    Args:
        error: The error of a validation.
        model: The model of the validation.
    """
    problem = error.errors(include_url=False)[0]
    # pydantic includes the branch of a union in the path; users know only the keys.
    keys = [str(p) for p in problem["loc"] if not str(p).startswith(("constrained-", "literal["))]
    keys = _without_tags(keys, model)
    key = ".".join(map(shorten_name, keys))
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}{suggest(keys[-1], _keys_beside(keys, model))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    value = shorten(problem.get("input"))
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    text = f"found {value}, {message[0].lower()}{message[1:]}"
    return f"{key}: {text}" if key else text


def shorten(value: object) -> str:
    """``repr`` of a value for a message: at most 80 characters, however large or deep it is."""
    text = _Short().repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def shorten_name(name: str) -> str:
    """A name for a message: as it is, or as ``shorten`` if it is long or cannot be printed."""
    return name if name.isprintable() and len(name) <= _MAX_SHOWN else shorten(name)


def _without_tags(keys: list[str], model: type[BaseModel]) -> list[str]:
    """The keys without the names of a union's members, which follow the key of the union."""
    kept: list[str] = []
    section: type[BaseModel] | None = model
    tags: dict[str, type[BaseModel]] = {}
    for key in keys:
        if key in tags:
            section, tags = tags[key], {}
            continue
        kept.append(key)
        field = section.model_fields.get(key) if section is not None else None
        tags = _tagged(field.annotation) if field is not None else {}
        section = next(iter(_sections(field.annotation)), None) if field is not None else section
    return kept


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type, from the first to the last."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [s for part in getattr(annotation, "__args__", ()) for s in _sections(part)]


def _tagged(annotation: Any) -> dict[str, type[BaseModel]]:
    """The members of a tagged union by their tags."""
    members = {}
    for part in getattr(annotation, "__args__", ()):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, Tag):
                members[mark.tag] = part.__origin__
    return members


def _keys_beside(keys: list[str], model: type[BaseModel]) -> list[str]:
    """The valid keys of the section with an unknown key."""
    section = model
    for key in keys[:-1]:
        if key not in section.model_fields:  # an index of a list, a key of a mapping
            continue
        section = next(iter(_sections(section.model_fields[key].annotation)), BaseModel)
    return list(section.model_fields)
