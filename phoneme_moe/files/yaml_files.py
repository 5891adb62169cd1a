"""Reading YAML as plain data: no tags, no repeated keys, and limits that stop hostile documents.

Aliases are allowed, and each becomes a copy. A document whose copies would be too many ("billion
laughs"), or that contains itself, is refused before they are made.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from phoneme_moe.errors import InputError
from phoneme_moe.files.text_files import decode_text, split_lines

Yaml: TypeAlias = "bool | int | float | str | list[Yaml] | dict[str, Yaml] | None"

MAX_BYTES = 2_000_000
MAX_DEPTH = 50
MAX_VALUES = 100_000
"""Most scalars, lists and mappings in a document, with the copies of aliases."""
_MAX_INTEGER = 2**63
_MAX_DIGITS = 100

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {_PREFIX + name for name in ("null", "bool", "int", "float", "str")}
_DATE = _PREFIX + "timestamp"
_MERGE = _PREFIX + "merge"


def read_yaml(file: Path) -> Yaml:
    """Reads a YAML file.

    Raises:
        InputError: The file cannot be read, has more than ``MAX_BYTES``, or as for ``parse_yaml``.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{file}: expected at most {MAX_BYTES:,} bytes of YAML")
    return parse_yaml(decode_text(content, str(file)), str(file))


def parse_yaml(text: str, where: str) -> Yaml:
    """Parses a YAML document with the types of JSON; keys and dates are read as text.

    Args:
        text: The document.
        where: Its origin, for error messages.

    Raises:
        InputError: The text is not YAML, has a tag, repeats a key, contains itself, or exceeds
            ``MAX_DEPTH`` or ``MAX_VALUES``; the message names the line.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The mark of an unclosed bracket may lie in the line after the last one.
        last = max(1, len(split_lines(text)))
        line = "" if mark is None else f" (line {min(mark.line + 1, last)})"
        raise InputError(f"{where}: not valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except _RefusedYamlError as error:
        raise InputError(f"{where}: line {builder.line}: {error}") from error
    return builder.document


class _RefusedYamlError(Exception):
    """The document is YAML, but not what is read here."""


@dataclass
class _Open:
    """A list or mapping whose end is not reached.

    Attributes:
        value: The values so far.
        anchor: Its name for aliases, if any.
        before: Number of values in the document before it.
        key: The key of a mapping whose value is next.
        merges: Mappings whose keys are added at the end (``<<``).
    """

    value: list[Yaml] | dict[str, Yaml]
    anchor: str | None
    before: int
    key: str | None = None
    merges: list[Yaml] | None = None


class _Builder:
    """Builds the data of a document from the events of the parser."""

    def __init__(self) -> None:
        self.document: Yaml = None
        self.line = 1
        self._resolver: Any = yaml.SafeLoader("")
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Yaml, int]] = {}
        self._num_values = 0
        self._num_documents = 0

    def add(self, event: yaml.Event) -> None:
        """Adds the next event.

        Raises:
            _RefusedYamlError: The document is not allowed here.
        """
        assert event.start_mark is not None
        self.line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._num_documents += 1
            if self._num_documents > 1:
                raise _RefusedYamlError("found a second document (---), expected one")
        elif isinstance(event, yaml.ScalarEvent):
            self._count(1)
            self._add_scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._count(1)
            self._open(event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._add_alias(event.anchor or "")

    def _count(self, number: int) -> None:
        self._num_values += number
        if self._num_values > MAX_VALUES:
            raise _RefusedYamlError(
                f"expected at most {MAX_VALUES:,} values, with the copies of aliases"
            )

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        name = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in {None, "!", _PREFIX + name}:
            raise _RefusedYamlError(f"found the tag {event.tag!r}, expected plain values")
        if len(self._stack) == MAX_DEPTH:
            raise _RefusedYamlError(f"expected at most {MAX_DEPTH} levels of nesting")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise _RefusedYamlError("found a list or mapping as a key, expected a name")
        value: list[Yaml] | dict[str, Yaml] = [] if name == "seq" else {}
        self._stack.append(_Open(value, event.anchor, self._num_values - 1))

    def _close(self) -> None:
        closed = self._stack.pop()
        if isinstance(closed.value, dict):
            for merged in closed.merges or ():
                for mapping in merged if isinstance(merged, list) else [merged]:
                    if not isinstance(mapping, dict):
                        raise _RefusedYamlError("'<<': expected a mapping or a list of mappings")
                    closed.value = {**mapping, **closed.value}
        if closed.anchor is not None:
            self._anchors[closed.anchor] = closed.value, self._num_values - closed.before
        self._place(closed.value)

    def _add_alias(self, anchor: str) -> None:
        if any(part.anchor == anchor for part in self._stack):
            raise _RefusedYamlError(f"*{anchor} is an alias of a value that contains it")
        if anchor not in self._anchors:
            raise _RefusedYamlError(
                f"*{anchor} is an alias of nothing: there is no &{anchor} before it"
            )
        value, size = self._anchors[anchor]
        self._count(size)
        self._place(copy.deepcopy(value))

    def _add_scalar(self, event: yaml.ScalarEvent) -> None:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._add_key(top, event.value, is_merge=tag == _MERGE)
            return
        if tag == _DATE:
            tag = _PREFIX + "str"
        if tag not in _SCALARS:
            raise _RefusedYamlError(f"found the tag {tag!r}, expected plain values")
        kind = tag.removeprefix(_PREFIX)
        try:
            if kind in {"int", "float"} and len(event.value) > _MAX_DIGITS:
                raise OverflowError
            value: Yaml = self._resolver.construct_object(yaml.ScalarNode(tag, event.value))
            if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
                raise OverflowError
        except (ValueError, KeyError, IndexError) as error:
            raise _RefusedYamlError(f"found {_shorten(event.value)}, which is no {kind}") from error
        except OverflowError as error:
            raise _RefusedYamlError(
                f"found {_shorten(event.value)}, a number beyond 64 bits"
            ) from error
        if event.anchor is not None:
            self._anchors[event.anchor] = value, 1
        self._place(value)

    def _add_key(self, mapping: _Open, key: str, is_merge: bool) -> None:
        assert isinstance(mapping.value, dict)
        if is_merge:
            mapping.merges = mapping.merges or []
        elif key in mapping.value:
            raise _RefusedYamlError(f"the key {_shorten(key)} occurs twice")
        mapping.key = key

    def _place(self, value: Yaml) -> None:
        """Puts a complete value where it belongs."""
        if not self._stack:
            self.document = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            raise _RefusedYamlError("found an alias as a key, expected a name")
        elif top.key == "<<" and top.merges is not None:
            top.merges.append(value)
            top.key = None
        else:
            top.value[top.key] = value
            top.key = None


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
