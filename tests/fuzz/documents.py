"""Mutations of parsed documents: wrong types, extreme values, lost and repeated parts."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

_SCALARS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**300,
    10**5000,
    0.5,
    -1e308,
    1e308,
    "",
    "a",
    "x" * 100_000,
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\x1b[31m\u2028\n",
    "=cmd|' /C calc'!A0",
    "!!python/object/apply:os.system [touch exploded]",
)


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


def change_value(data: Any, chance: random.Random) -> Any:
    """Changes, removes, doubles or adds one value, somewhere."""
    if not isinstance(data, dict | list | tuple) or not data or chance.random() < 0.05:
        if chance.random() < 0.1:
            return _nested(chance.choice((30, 60, 61, 150)))
        return chance.choice(_SCALARS)
    if isinstance(data, tuple):
        return tuple(change_value(list(data), chance))
    copied = data.copy()
    keys = list(copied) if isinstance(copied, dict) else list(range(len(copied)))
    key = chance.choice(keys)
    match chance.randrange(8):
        case 0:
            del copied[key]
        case 1 if isinstance(copied, dict):
            copied[chance.choice(("a", "", "version", "x\ny", "k" * 10_000))] = copied[key]
        case 1:
            copied.extend([copied[key]] * chance.choice((1, 1000)))
        case 2:
            copied[key] = copied[chance.choice(keys)]
        case _:
            copied[key] = change_value(copied[key], chance)
    return copied


def short_numbers(data: Any) -> Any:
    """YAML and safetensors headers are written with numbers of at most 300 digits."""
    if isinstance(data, dict):
        return {key: short_numbers(value) for key, value in data.items()}
    if isinstance(data, list):
        return [short_numbers(value) for value in data]
    return 10**300 if isinstance(data, int) and data > 10**300 else data


def dumps(data: Any, ensure_ascii: bool = True) -> str:
    """JSON with numbers of any length."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(data, ensure_ascii=ensure_ascii)
    finally:
        sys.set_int_max_str_digits(limit)
