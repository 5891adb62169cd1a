"""The commands that write, on tiny corpora and runs made for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests import tiny
from tests.crash.harness import Case, run

QUICK = [
    "--set", "training.stages.experts.epochs=3",
    "--set", "training.stages.gate.epochs=2",
    "--set", "training.stages.joint.epochs=1",
]  # fmt: skip
QUICK_SPARSE = ["--set", "training.stages.joint.epochs=2"]
COMMANDS = (
    "train",
    "corpora prepare",
    "transcribe",
    "report",
    "compare",
    "clips",
    "grow",
    "adapt",
    "export",
    "reproduce",
)


def make_inputs(root: Path) -> None:
    """Prepares the tiny corpus and trains two tiny runs below a folder."""
    from phoneme_moe.corpora import prepare_corpus

    os.environ["PHONEME_MOE_DATA"] = str(root / "data")
    (root / "tones").mkdir()
    manifest = tiny.write_tones(root / "tones", utterances=10)
    prepare_corpus("lhotse", manifest, as_name=tiny.CORPUS, progress=False)
    runs = root / "runs"
    runs.mkdir()
    for name, settings in (("recognize", QUICK), ("sparse", QUICK_SPARSE)):
        recipe = str(tiny.RECIPES / f"tiny_{name}.yaml")
        argv = ["train", recipe, "--out", name, "--device", "cpu", *settings]
        outcome = run(Case(name, argv), argv, runs)
        assert outcome.status == 0, outcome.err
    dan = root / "dan"
    dan.mkdir()
    random = np.random.default_rng(11)
    for number in range(6):
        phonemes = [str(p) for p in random.choice(tiny.PHONEMES, size=4)]
        samples, _ = tiny.speak(phonemes, "dan", random)
        soundfile.write(dan / f"{number:02}.wav", samples, tiny.RATE)
        (dan / f"{number:02}.txt").write_text(" ".join(phonemes))


def cases(root: Path) -> dict[str, Case]:
    """Every command by name, on the inputs below a folder."""
    recognize, sparse = root / "runs" / "recognize", root / "runs" / "sparse"
    recipe = str(tiny.RECIPES / "tiny_recognize.yaml")
    cpu = ["--device", "cpu"]

    def copy(run_folder: Path, folder: Path) -> None:
        """Copies a run, without what its own training left in it, to be written into."""
        shutil.copytree(run_folder, folder / "run", ignore=shutil.ignore_patterns("report"))

    made = (
        Case("train", ["train", recipe, "--out", "out", *cpu, *QUICK], trains=True),
        Case(
            "corpora prepare",
            ["corpora", "prepare", "lhotse", "--from", str(root / "tones" / "cuts.jsonl.gz"),
             "--as", "mine"],
            environment={"PHONEME_MOE_DATA": "data"},
        ),
        Case(
            "transcribe",
            ["transcribe", str(recognize), str(root / "dan"), "--format", "all", "--out", "out",
             *cpu],
        ),
        Case("report", ["report", "run", *cpu], prepare=partial(copy, recognize)),
        Case("compare", ["compare", str(recognize), "run", *cpu], prepare=partial(copy, sparse)),
        Case("clips", ["clips", "run", "--limit", "8", *cpu], prepare=partial(copy, recognize)),
        Case(
            "grow",
            ["grow", str(sparse), "--experts", "2", "--epochs", "2", "--out", "out", *cpu],
            trains=True,
        ),
        Case(
            "adapt",
            ["adapt", str(recognize), str(root / "dan"), "--speaker", "dan", "--new-expert",
             "--out", "out"],
            once=True,
            patch=_few_steps,
        ),
        Case("export", ["export", str(recognize), "--onnx", "out/model.onnx", "--int8"]),
        Case(
            "reproduce",
            ["reproduce", "jacobs-1991", "--jobs", "1", "--out", "out"],
            patch=_tiny_experiment,
        ),
    )  # fmt: skip
    return {case.name: case for case in made}


def _few_steps() -> None:
    from phoneme_moe.training import new_speaker

    new_speaker.EXPERT_STEPS = new_speaker.GATE_STEPS = 10


def _tiny_experiment() -> None:
    """Makes every experiment one that squares numbers."""
    import phoneme_moe_reproductions
    from phoneme_moe_reproductions import runner
    from phoneme_moe_reproductions.experiment import Description, Experiment, Job
    from phoneme_moe_reproductions.results import Claim, Outcome, Table
    from phoneme_moe_reproductions.statistics import estimate

    def conclude(results: Mapping[str, Any]) -> Outcome:
        values = [result["square"] for result in results.values()]
        table = Table("squares", "Squares", ("system", "ours"), (("squares", estimate(values)),))
        return Outcome((table,), (Claim("Squares grow.", "yes", f"to {max(values)}", True),))

    squares = Experiment(
        name="squares",
        description=Description("Nobody, 1991", "Do they grow?", (), (), ()),
        seeds=4,
        quick_seeds=2,
        plan=lambda seeds, quick: [Job(f"n{n}", {"number": n}) for n in range(seeds)],
        run=lambda settings: {"square": settings["number"] ** 2},
        conclude=conclude,
        draw=lambda results, folder: [],
    )

    def load_experiment(_: str) -> Experiment:
        return squares

    runner.load_experiment = load_experiment
    phoneme_moe_reproductions.load_experiment = load_experiment
