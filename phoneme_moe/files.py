"""Atomic file writing, and JSON documents that are validated when they are read."""

from __future__ import annotations

import json
import os
import re
import reprlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from phoneme_moe.errors import InputError


class Document(BaseModel):
    """A JSON document; ``python -m benchmarks.schemas`` writes the schemas of those in files."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


AnyDocument = TypeVar("AnyDocument", bound=Document)

_MARK = ".partial-"
_TEMPORARY = re.compile(rf"\..+{re.escape(_MARK)}[a-z0-9_]{{8}}(\.[^.]*)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces ``path`` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}{_MARK}"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; the result gets the mode of any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        # The error of a full disk does not name the file.
        error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Removes temporary files of ``atomic_path`` below a folder, left by a killed process.

    Hidden folders are the user's (``.git``, ``.ipynb_checkpoints``) and are not entered.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _TEMPORARY.fullmatch(name):
                Path(parent, name).unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def parse_document(model: type[AnyDocument], text: str | bytes, source: str) -> AnyDocument:
    """Checks the text of a JSON document.

    Args:
        model: What the document has to be.
        text: JSON.
        source: The file, for the error message.

    Raises:
        InputError: Names the first key that does not fit.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "json_invalid":
        raise InputError(f"{source}: not valid JSON")
    if problem["type"] == "missing":
        raise InputError(f"{source}: {key} is missing")
    message = problem["msg"].removeprefix("Value error, ")
    where = f"{source}: {key}" if key else source
    raise InputError(
        f"{where}: found {reprlib.repr(problem['input'])}; {message[0].lower()}{message[1:]}"
    )
