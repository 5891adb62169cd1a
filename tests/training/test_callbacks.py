from __future__ import annotations

import io
import re

import lightning.pytorch as pl
import pytest
import tiny
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch.utils.data import DataLoader

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.loaders import ExampleBatches
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.progress import StageLog, StageProgressBar
from phoneme_moe.training.stages import build_recognizer

WIDTH = 80


def lines_shown(
    tones: PreparedCorpus, stage: int, name: str = "tiny_recognize", changes: tuple[str, ...] = ()
) -> list[str]:
    """What is left on a terminal of 80 columns when a stage has ended."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=WIDTH, color_system=None)
    recipe = load_recipe(tiny.RECIPES / f"{name}.yaml", changes)
    bar = StageProgressBar(recipe.training.stages[stage].name, console)
    fit(tones, recipe, stage, bar)
    last = screen.getvalue().replace("\r", "\n").rsplit("\x1b[2K", 1)[-1]
    return [line.rstrip() for line in last.replace("\x1b[?25h", "").split("\n") if line.strip()]


def fit(tones: PreparedCorpus, recipe: Recipe, stage: int, callback: Callback) -> None:
    """Two epochs of a stage, of three batches each."""
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "dev", recognizer, ["ann", "bob", "carol"])
    batches = DataLoader(
        ExampleBatches(examples, recognizer),
        sampler=[list(range(len(examples)))] * 3,
        batch_size=None,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    trainer.fit(StageModule(recognizer, recipe, stage), batches, batches)


def test_a_stage_is_one_line_with_loss_error_and_load(tones: PreparedCorpus) -> None:
    (line,) = lines_shown(tones, 1)
    assert len(line) <= WIDTH
    assert line.startswith("gate 2/2 ")
    *_, loss, _, error, _, _, first, second, third, _ = line.split()
    assert 0 < float(loss) < 20
    assert 0 <= float(error) <= 500
    assert abs(int(first) + int(second) + int(third) - 100) <= 2


def test_a_stage_of_the_experts_shows_how_many_utterances_each_has(tones: PreparedCorpus) -> None:
    (line,) = lines_shown(tones, 0)
    assert line.startswith("experts 2/2 ")
    assert " load " in line


def test_sparse_layers_show_how_the_worst_of_them_fares(tones: PreparedCorpus) -> None:
    (line,) = lines_shown(tones, 0, "tiny_sparse")
    assert len(line) <= WIDTH
    assert re.search(r" load cv \d\.\d\d( dead [1-3]/4)? entropy [01]\.\d$", line), line


def test_what_is_dropped_is_shown_instead_of_the_entropy(tones: PreparedCorpus) -> None:
    # Every choice of an expert that has room for a twentieth of its share.
    (line,) = lines_shown(tones, 0, "tiny_sparse", ("model.encoder.sparse.capacity=0.05",))
    assert len(line) <= WIDTH
    assert re.search(r" dropped 9\d %$", line), line


class Clock:
    """A clock that advances by so many seconds with every look."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [(1.0, []), (6.0, [2]), (15.0, [1, 2]), (100.0, [1, 1, 1, 1, 2, 2, 2, 2])],
    ids=["quick", "two epochs a minute", "an epoch a minute", "a batch a minute"],
)
def test_a_log_gets_a_line_a_minute_at_most(
    tones: PreparedCorpus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    epochs: list[int],
) -> None:
    monkeypatch.setattr("phoneme_moe.training.progress.time", Clock(seconds))
    recipe = load_recipe(tiny.RECIPES / "tiny_recognize.yaml")
    fit(tones, recipe, 1, StageLog("gate"))
    lines = capsys.readouterr().err.splitlines()
    assert [int(line[len("gate ")]) for line in lines] == epochs
    for line in lines:
        assert re.fullmatch(
            r"gate [12]/2: loss \d+\.\d{3}( error \d+\.\d %)? load \d+ \d+ \d+ %, \d+ min left",
            line,
        )
