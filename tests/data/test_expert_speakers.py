"""Speakers with an expert, where splits share nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import tiny
from lhotse.cut import Cut

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.data.speakers import corpus_speakers, expert_speakers, require_dev_speakers
from phoneme_moe.errors import InputError
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.training.stages import build_recognizer, train_stages

SPLITS = {"train": ("ann", "bob"), "dev": ("carol",), "test": ("dan",)}


@dataclass(frozen=True)
class SplitBySpeaker(PreparedCorpus):
    """The tones, with every speaker in one split."""

    def iter_cuts(self, split: str, checked: bool = True) -> Iterator[Cut]:
        cuts = super().iter_cuts(split, checked)
        return (cut for cut in cuts if cut.supervisions[0].speaker in SPLITS[split])


@pytest.fixture(scope="module")
def disjoint(tones: PreparedCorpus) -> PreparedCorpus:
    return SplitBySpeaker(**{field.name: getattr(tones, field.name) for field in fields(tones)})


def recipe_with(*changes: str) -> Recipe:
    changes = ("corpus.speakers=null", "corpus.held_out_speakers=[]", *changes)
    return load_recipe(tiny.RECIPES / "tiny_recognize.yaml", changes)


def test_speakers_of_training_have_experts(tones: PreparedCorpus, disjoint: PreparedCorpus) -> None:
    recipe = recipe_with()
    assert corpus_speakers(recipe, disjoint) == tuple(tiny.SPEAKERS)
    assert build_recognizer(recipe, disjoint).expert_names == ("ann", "bob")
    assert expert_speakers(recipe, tones) == tuple(tiny.SPEAKERS)
    with pytest.raises(InputError, match="the train split has none of the speakers carol, dan"):
        expert_speakers(recipe_with("corpus.speakers=[carol, dan]"), disjoint)


@pytest.mark.slow
def test_the_gate_routes_speakers_of_dev_without_an_expert(
    disjoint: PreparedCorpus, tmp_path: Path
) -> None:
    stages = [f"training.stages.{name}.epochs=1" for name in ("experts", "gate", "joint")]
    recipe = recipe_with("training.timing=null", *stages)
    recognizer = train_stages(recipe, disjoint, tmp_path / "run", device="cpu")
    assert recognizer.expert_names == ("ann", "bob")
    dev = load_examples(recipe, disjoint, "dev", recognizer)
    assert {example.speaker for example in dev} == {"carol"}
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert [row["stage"] for row in rows] == ["experts", "gate", "joint"]
    assert all(float(row["dev_error"]) > 0 for row in rows)


def test_a_gate_that_is_the_speaker_needs_them_in_dev(
    tones: PreparedCorpus, disjoint: PreparedCorpus
) -> None:
    gate = "model.gate={kind: speaker}"
    stage = "{name: experts, route: speaker, epochs: 1, learning_rate: 0.01}"
    recipe = recipe_with(gate, f"training.stages=[{stage}]")
    require_dev_speakers(recipe, tones)
    with pytest.raises(InputError, match=r"no expert .* for a speaker of dev: found 'carol'"):
        build_recognizer(recipe, disjoint)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_gate_that_identifies_speakers_is_compared_on_those_it_knows(
    tones: PreparedCorpus, disjoint: PreparedCorpus, keep: str
) -> None:
    stage = "{name: sid, train: [gate], objective: speaker, epochs: 1, learning_rate: 0.01"
    recipe = recipe_with(f"training.stages=[{stage}, keep: {keep}}}]")
    require_dev_speakers(recipe, tones)
    if keep == "last":
        require_dev_speakers(recipe, disjoint)
        return
    with pytest.raises(InputError, match=r"stages\.sid\.keep: found best, .*expected last"):
        require_dev_speakers(recipe, disjoint)
