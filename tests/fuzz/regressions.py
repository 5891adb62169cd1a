"""What fuzzing ever found, as small generators with their right answer.

A finding is added here before it is mended; ``python -m tests.fuzz regressions`` runs them all.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.fuzz.harness import Command

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
RATE = 8000


def _copy_run(folder: Path) -> Path:
    shutil.copytree(FIXTURES / "gate", folder / "run")
    shutil.copy(FIXTURES / "carol.wav", folder / "good.wav")
    return folder / "run"


def amplitudes_of_a_damaged_float_file(folder: Path) -> Sequence[Command]:
    """Its posteriors were no numbers, which lost the other files of its batch."""
    for name, factor in (("first.wav", 1.0), ("huge.wav", 1e22), ("last.wav", 1.0)):
        soundfile.write(folder / name, np.full(RATE, 0.1) * factor, RATE, "FLOAT")
    names = ["first.wav", "huge.wav", "last.wav"]
    argv = ["transcribe", str(FIXTURES / "gate.onnx"), *names]
    return [Command(argv, succeeds=False, good=["first.wav", "last.wav"])]


def sample_rate_of_one_hertz(folder: Path) -> Sequence[Command]:
    """Half an hour of audio was resampled from nothing."""
    soundfile.write(folder / "slow.wav", np.zeros(RATE), 1)
    return [Command(["transcribe", str(FIXTURES / "gate.onnx"), "slow.wav"], succeeds=False)]


def number_of_5000_digits(folder: Path) -> Sequence[Command]:
    """A traceback of Python's limit of digits."""
    file = _copy_run(folder) / "quality.json"
    file.write_text('{"version": ' + "9" * 5000 + "}")
    return [Command(["model", "run"], succeeds=False)]


def nested_10000_deep(folder: Path) -> Sequence[Command]:
    """A RecursionError of the YAML parser."""
    (_copy_run(folder) / "recipe.yaml").write_text("[" * 10_000)
    return [Command(["transcribe", "run", "good.wav"], succeeds=False)]


def model_of_a_billion_units(folder: Path) -> Sequence[Command]:
    """Memory for it was allocated before its weights were looked at."""
    file = _copy_run(folder) / "model.json"
    document = json.loads(file.read_text())
    document["model"]["expert"]["width"] = 10**9
    file.write_text(json.dumps(document))
    return [Command(["transcribe", "run", "good.wav"], succeeds=False)]


def weights_of_3e38(folder: Path) -> Sequence[Command]:
    """Transcripts of posteriors that are no numbers, with exit status 0."""
    file = _copy_run(folder) / "model.safetensors"
    weights = {name: torch.full_like(w, 3e38) for name, w in load_file(file).items()}
    save_file(weights, file)
    return [Command(["transcribe", "run", "good.wav"], succeeds=False)]


def pipe_in_place_of_a_document(folder: Path) -> Sequence[Command]:
    """Opening it waits for a writer that never comes."""
    run = _copy_run(folder)
    (run / "decoding.json").unlink()
    os.mkfifo(run / "decoding.json")
    return [Command(["transcribe", "run", "good.wav"], succeeds=False)]


def labels_of_which_one_has_no_times(folder: Path) -> Sequence[Command]:
    """The times of the others became phonemes."""
    (folder / "mine").mkdir()
    for number in range(4):
        soundfile.write(folder / "mine" / f"ann_{number}.wav", np.ones(RATE) * 0.1, RATE)
        text = "0 1000000 a\n1000000 2000000 b\nb\n"
        (folder / "mine" / f"ann_{number}.lab").write_text(text)
    return [Command(["corpora", "prepare", "folder", "--from", "mine"], succeeds=False)]


def cut_without_a_recording(folder: Path) -> Sequence[Command]:
    """A KeyError of Lhotse."""
    cut = {"id": "a", "start": 0, "duration": 1, "channel": 0, "supervisions": []}
    (folder / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
    argv = ["corpora", "prepare", "lhotse", "--from", "cuts.jsonl"]
    return [Command(argv, succeeds=False)]


def gzip_bomb(folder: Path) -> Sequence[Command]:
    """A small manifest of a gigabyte."""
    content = gzip.compress((b" " * 10_000_000 + b"\n") * 30, mtime=0)
    (folder / "cuts.jsonl.gz").write_bytes(content)
    argv = ["corpora", "prepare", "lhotse", "--from", "cuts.jsonl.gz"]
    return [Command(argv, succeeds=False)]


def recipe_whose_name_is_a_path(folder: Path) -> Sequence[Command]:
    """Its run was written elsewhere."""
    (folder / "r.yaml").write_text("name: ../elsewhere\ncorpus: {name: announcers}\n")
    return [Command(["train", "r.yaml"], succeeds=False)]


ALL: tuple[Callable[[Path], Sequence[Command]], ...] = (
    amplitudes_of_a_damaged_float_file,
    sample_rate_of_one_hertz,
    number_of_5000_digits,
    nested_10000_deep,
    model_of_a_billion_units,
    weights_of_3e38,
    pipe_in_place_of_a_document,
    labels_of_which_one_has_no_times,
    cut_without_a_recording,
    gzip_bomb,
    recipe_whose_name_is_a_path,
)


class Regressions:
    """One finding after the other."""

    name = "regressions"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """The input of a finding, and the commands that it once broke."""
        return ALL[number % len(ALL)](folder)
