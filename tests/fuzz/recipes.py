"""Mutated recipes and changes of settings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.cutsets import IDS, cut_of
from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate
from tests.fuzz.texts import (
    TOKENS,
    encode,
    mutate_plain,
    nested,
    own_data_folder,
    with_huge,
    write_wav,
)

TESTS = Path(__file__).parents[1]
RECIPES = sorted((TESTS / "recipes").glob("*.yaml")) + sorted((TESTS.parent / "recipes").glob("*"))
_KEYS = ("seed", "features.n_mels", "model.expert.width", "training.stages.one.epochs", "a.b", "")


class Recipes:
    """Recipes, of which some are trained."""

    name = "recipes"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A mutated recipe."""
        own_data_folder()
        chance = random.Random(number)
        if number % 10 == 0:
            return _trained(folder, chance)
        path = chance.choice(RECIPES)
        data = yaml.safe_load(path.read_text("utf-8"))
        # Nothing is trained: there is no such corpus.
        data["corpus"]["name"] = "nowhere"
        (folder / "r.yaml").write_bytes(_content(data, chance))
        command = ["train", "r.yaml", "--out", "run"]
        if chance.random() < 0.2:
            value = chance.choice(
                (*(t for t in TOKENS if "\0" not in t), "[1", nested(999, "[", "]"))
            )
            command += ["--set", f"{chance.choice(_KEYS)}={value}"]
        return [Command(command, succeeds=False)]


def _content(data: dict[str, Any], chance: random.Random) -> bytes:
    match chance.randrange(20):
        case 0:
            return nested(10_000, "[", "]").encode()
        case 1:
            return ("- " * 10_000).encode()
        case 2:
            return _laughs(chance.randint(2, 12)).encode()
        case 3:
            return b"a: &a [*a, *a]\nname: *a\n"
        case 4:
            return f"name: !!python/object/apply:os.system [touch {chance.random()}]\n".encode()
        case 5:
            return chance.randbytes(chance.randint(0, 5_000))
        case 6:
            text = yaml.safe_dump(data)
            return f"{text}\n{chance.choice(text.splitlines())}\n".encode()
        case 7:
            return (yaml.safe_dump(data) + f"seed: {'9' * 5_000}\n").encode()
        case 8:
            return mutate(yaml.safe_dump(data).encode(), chance)
        case 9:
            return b"#" * chance.choice((10, 10_000_000))
        case 10:
            return encode(_dumps(mutate_plain(data, chance)), chance)
        case _:
            return _dumps(mutate_plain(data, chance)).encode()


def _dumps(data: Any) -> str:
    return with_huge(yaml.safe_dump(data))


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join([*lines, f"name: *a{levels - 1}"])


def _trained(folder: Path, chance: random.Random) -> list[Command]:
    """A recipe with other small numbers, trained for an epoch."""
    import json

    for id in IDS:
        write_wav(folder / "wav" / f"{id}.wav")
    cuts = [json.dumps(cut_of(id, folder / "wav")) for id in IDS]
    (folder / "cuts.jsonl").write_text("\n".join(cuts))
    path = chance.choice([path for path in RECIPES if path.parent.parent == TESTS])
    data = yaml.safe_load(path.read_text("utf-8"))
    data["corpus"] = {"name": "mine"}
    data["training"]["timing"] = None
    if data["task"]["kind"] == "classify":
        data["task"]["phonemes"] = ["a", "b"]
    for stage in data["training"]["stages"]:
        stage["epochs"] = 1
    places = [place for part in ("features", "task", "model") for place in _numbers(data[part])]
    for parent, key in chance.sample(places, min(len(places), chance.randint(1, 3))):
        old = parent[key]
        new = old * chance.choice((1, 1, 0.5, 2, 3, 10)) + chance.choice((0, 1, -1, 2))
        parent[key] = round(new) if isinstance(old, int) else new
    (folder / "r.yaml").write_text(yaml.safe_dump(data))
    return [
        Command(["corpora", "prepare", "lhotse", "--from", "cuts.jsonl", "--as", "mine"], True),
        Command(["train", "r.yaml", "--out", "run"]),
    ]


def _numbers(data: Any) -> list[tuple[Any, Any]]:
    """The places of all numbers: a list or dictionary, and the key in it."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in items:
        if isinstance(value, dict | list):
            found += _numbers(value)
        elif isinstance(value, int | float):
            found.append((data, key))
    return found
