"""Mutated run folders, opened by the commands that read them.

The folders are a trained run with its report and checkpoints, and the committed runs of 0.1.0.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.documents import change_value, dumps, short_numbers
from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate

TESTS = Path(__file__).parents[1]
OLD_RUNS = TESTS / "fixtures" / "runs_0_1_0"
RECORDING = OLD_RUNS / "carol.wav"


class Runs:
    """Run folders."""

    name = "runs"

    @cached_property
    def _home(self) -> Path:
        """A folder with the prepared corpus and a trained run, removed at the end."""
        home = Path(tempfile.mkdtemp(prefix="fuzz-runs-home-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["PHONEME_MOE_DATA"] = str(home / "data")
        from tests import tiny

        (home / "tones").mkdir()
        manifest = tiny.write_tones(home / "tones", utterances=6)
        recipe = yaml.safe_load((tiny.RECIPES / "tiny_recognize.yaml").read_text())
        for stage in recipe["training"]["stages"]:
            stage["epochs"] = 1 + (stage["name"] == "experts")
        recipe["training"]["timing"] = {"epochs": 1, "width": 8}
        (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        for argv in (
            ["corpora", "prepare", "lhotse", "--from", str(manifest), "--as", tiny.CORPUS],
            ["train", "recipe.yaml", "--out", "run", "--device", "cpu"],
        ):
            # Not in a forked child, whose processor time is limited.
            subprocess.run([sys.executable, "-m", "phoneme_moe", *argv], cwd=home, check=True)
        return home

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """A folder ``run`` with one to three mutations, and two commands on it."""
        chance = random.Random(number)
        kind = chance.choice(("trained", "gate", "sparse", "interrupted"))
        old = kind in {"gate", "sparse"}
        source = OLD_RUNS / kind if old else self._home / "run"
        home = self._home
        shutil.copytree(source, folder / "run")
        if kind == "interrupted":
            self._interrupt(folder / "run", chance)
        files = [
            file
            for file in sorted((folder / "run").rglob("*"))
            if file.is_file() and not {"tensorboard", "report"} & set(file.parts)
        ]
        for file in chance.sample(files, chance.choice((1, 1, 1, 2, 3))):
            self._mutate(file, files, chance)
        if kind == "interrupted":
            resume = ["train", str(home / "recipe.yaml"), "--out", "run", "--resume"]
            return [Command([*resume, "--device", "cpu"])]
        commands = (
            ["transcribe", "run", str(RECORDING)],
            ["model", "run"],
            ["evaluate", "run", "--split", "dev"],
            ["align", "run", str(RECORDING), "--phonemes", "a s i m a"],
            ["export", "run", "--onnx", "run.onnx"],
            ["report", "run", "--split", "dev", "--out", "report"],
            ["compare", str(OLD_RUNS / "gate"), "run", "--split", "dev", "--out", "compared"],
            ["clips", "run", "--split", "dev", "--out", "clips"],
            ["grow", "run", "--experts", "2", "--out", "grown"],
        )
        # The later ones take seconds, and read the same files by the same functions.
        slow = chance.random() < 0.3
        return [Command(argv) for argv in chance.sample(commands[5:] if slow else commands[:5], 2)]

    def _interrupt(self, folder: Path, chance: random.Random) -> None:
        """Takes away what a training that was killed did not write."""
        stages = sorted((folder / "checkpoints").iterdir())
        keep = chance.randrange(len(stages))
        for stage in stages[keep + 1 :]:
            shutil.rmtree(stage)
        if chance.random() < 0.8:
            (stages[keep] / "final.safetensors").unlink()
        for name in ("model.json", "model.safetensors", "decoding.json", "quality.json"):
            (folder / name).unlink()

    def _mutate(self, file: Path, files: Sequence[Path], chance: random.Random) -> None:
        structural = chance.random() < 0.6
        if structural and file.suffix in {".json", ".yaml"}:
            self._change_document(file, chance)
        elif structural and file.suffix == ".safetensors":
            self._change_weights(file, chance)
        elif structural and file.suffix == ".ckpt":
            self._change_checkpoint(file, chance)
        elif chance.random() < 0.5:
            file.write_bytes(mutate(file.read_bytes(), chance))
        else:
            self._replace(file, files, chance)

    def _change_document(self, file: Path, chance: random.Random) -> None:
        text = file.read_text()
        if chance.random() < 0.15:
            opening, closing = chance.choice((("[", "]"), ('{"a":', "}"), ("{a: ", "}")))
            file.write_text(opening * 10_000 + "1" + closing * 10_000)
            return
        data = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = change_value(data, chance)
        if file.suffix == ".json":
            text = dumps(data, ensure_ascii=chance.random() < 0.5)
        else:
            text = yaml.safe_dump(short_numbers(data))
        encoding = chance.choice(("utf-8",) * 8 + ("utf-16", "latin-1"))
        file.write_bytes(text.encode(encoding, "replace"))

    def _change_weights(self, file: Path, chance: random.Random) -> None:
        content = file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        names = [name for name in header if name != "__metadata__"]
        if chance.random() < 0.3:
            place = chance.randrange(8 + size, len(content) - 4)
            number = chance.choice((b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"))
            place -= place % 4
            content = content[:place] + number + content[place + 4 :]
            file.write_bytes(content)
            return
        header = change_value(header, chance) if chance.random() < 0.5 else header
        if isinstance(header, dict):
            entry = header.get(chance.choice(names))
            if isinstance(entry, dict):
                entry[chance.choice(("shape", "data_offsets"))] = [
                    chance.choice((0, 1, 2**31, 2**40, 2**62)) for _ in range(2)
                ]
        text = json.dumps(short_numbers(header)).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])

    def _change_checkpoint(self, file: Path, chance: random.Random) -> None:
        import torch

        data = torch.load(file, weights_only=True)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = change_value(data, chance)
        if chance.random() < 0.1:
            data = {"state_dict": _Explodes()}
        try:
            torch.save(data, file)
        except RecursionError:  # too deep to be written
            file.write_bytes(mutate(file.read_bytes(), chance))

    def _replace(self, file: Path, others: Sequence[Path], chance: random.Random) -> None:
        content = file.read_bytes()
        usable = [other for other in others if other.is_file()]
        other = chance.choice(usable).read_bytes()
        swapped = OLD_RUNS / chance.choice(("gate", "sparse")) / file.name
        if swapped.is_file() and chance.random() < 0.5:
            other = swapped.read_bytes()
        file.unlink()
        actions: tuple[Callable[[], object], ...] = (
            lambda: None,
            lambda: file.write_bytes(b""),
            lambda: file.write_bytes(other),
            lambda: file.write_bytes(other),
            lambda: file.mkdir(),
            lambda: file.symlink_to(file),
            lambda: os.mkfifo(file),
            lambda: file.symlink_to("/dev/zero"),
            lambda: file.write_bytes(content[: chance.randrange(len(content) + 1)]),
        )
        chance.choice(actions)()


class _Explodes:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch exploded",)
