"""Mutations of text and of plain data, and what the kinds of corpora share."""

from __future__ import annotations

import os
import random
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.harness import Command

RECIPE = """
name: tiny
corpus: {name: mine}
features: {sample_rate: 8000, n_mels: 8}
task: {kind: recognize}
model: {expert: {kind: linear, kernel: 1}}
training:
  batch_size: 8
  timing: null
  stages: [{name: one, epochs: 1, learning_rate: 0.01}]
"""

HUGE = "HUGE"
"""Stands for a whole number of 5,000 digits, which Python refuses to write."""

SCALARS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2,
    7,
    2**31,
    2**63,
    HUGE,
    0.5,
    -0.25,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "a",
    "a b",
    "e\u0301",
    "\u2028",
    "\x1b[31m",
    "../../etc/passwd",
    "/dev/zero",
    "http://127.0.0.1:9/a.wav",
    "x" * 10_000,
    [],
    {},
    [[]],
    ["a", 1],
)
TOKENS = (
    "",
    "-1",
    "-1.0",
    "0",
    "1",
    "0.99",
    "0,5",
    "1e9",
    "nan",
    "inf",
    "1" * 5_000,
    "a",
    "a(2)",
    "#",
    ";;;",
    "\ufeff",
    "\u2019",
    "\u00a0",
    "\u2028",
    "\x00",
    "\x1b[31m",
    "|",
    "touch canary |",
    "x.ark:12",
    "/dev/zero",
    ".",
    "..",
    "x" * 5_000,
)


def own_data_folder() -> None:
    """Prepared corpora go into the folder of the case."""
    os.environ["PHONEME_MOE_DATA"] = "data"


def write_wav(path: Path, seconds: float = 0.3, rate: int = 8_000) -> None:
    """Noise, the same for every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 3000 * np.random.default_rng(0).standard_normal(round(seconds * rate))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(noise), "NONE", ""))
        file.writeframes(noise.astype("<i2").tobytes())


def use(folder: Path, prepare: Sequence[str] | None, train: bool) -> list[Command]:
    """Prepares a corpus ``mine``, checks it, and trains: well if the check found no problem."""
    commands = [] if prepare is None else [Command([*prepare, "--as", "mine"])]
    commands.append(Command(["corpora", "check", "mine"]))
    if train:
        (folder / "tiny.yaml").write_text(RECIPE)
        train_it = ["train", "tiny.yaml", "--out", "run"]
        commands.append(Command(train_it, succeeds_after=len(commands) - 1))
    return commands


def mutate_lines(text: str, chance: random.Random) -> str:
    """Changes lines and fields of a table."""
    lines = text.splitlines()
    for _ in range(chance.randint(1, 2)):
        place = chance.randrange(len(lines)) if lines else 0
        fields = lines[place].split(" ") if lines else []
        match chance.randrange(8):
            case 0:
                lines[place : place + 1] = []
            case 1:
                lines[place:place] = lines[place : place + 1]
            case 2:
                chance.shuffle(lines)
            case 3 if fields:
                fields[chance.randrange(len(fields))] = chance.choice(TOKENS)
                lines[place] = " ".join(fields)
            case 4 if fields:
                del fields[chance.randrange(len(fields))]
                lines[place] = " ".join(fields)
            case 5:
                lines.insert(place, chance.choice(TOKENS))
            case 6 if fields:
                lines[place] = chance.choice(("\t", "  ", "\u00a0", "\r")).join(fields)
            case _:
                lines.insert(place, chance.choice(TOKENS) + " " + chance.choice(TOKENS))
    return chance.choice(("\n", "\n", "\n", "\r\n", "\r")).join([*lines, ""])


def encode(text: str, chance: random.Random) -> bytes:
    """The text in some encoding, mostly UTF-8."""
    name = chance.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"))
    return text.encode(name, errors="replace")


def mutate_plain(data: Any, chance: random.Random) -> Any:
    """Changes values of nested lists and dictionaries, in place; returns the whole."""
    for _ in range(chance.randint(1, 2)):
        parents = [value for value in _all(data) if isinstance(value, dict | list) and value]
        if not parents:
            return chance.choice(SCALARS)
        parent = chance.choice(parents)
        key = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        match chance.randrange(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[str(chance.choice(("x", key, "type", "custom")))] = parent[key]
            case 2 if isinstance(parent, list):
                parent.append(parent[key])
            case 3:
                parent[key] = [parent[key]]
            case 4 if isinstance(parent[key], int | float):
                parent[key] *= chance.choice((-1, 0, 2, 1000, 0.001, 1e-9))
            case _:
                parent[key] = chance.choice(SCALARS)
    return data


def _all(data: Any) -> list[Any]:
    values = [data]
    for value in values:
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        if len(values) > 10_000:
            break
    return values


def with_huge(text: str) -> str:
    """A JSON or YAML text with the numbers for which ``HUGE`` stands."""
    return text.replace(f'"{HUGE}"', HUGE).replace(HUGE, "9" * 5_000)


def nested(levels: int, opening: str, closing: str) -> str:
    """A text of brackets in brackets."""
    return opening * levels + closing * levels
