"""Every command means the same utterances by a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation import quality
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.evaluation.split_outputs import infer_split
from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.report.clips.find import ClipQuery
from phoneme_moe.report.clips.run import clips_of_run
from phoneme_moe.report.compare.run import compare_runs
from phoneme_moe.report.run import report_run
from phoneme_moe.training.stages import build_recognizer


def test_every_command_looks_at_the_same_utterances(
    recognized: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    run = recognized.run
    named = run.recipe.corpus.speakers
    assert named is not None
    assert set(named) < set(tones.speakers)
    meant = {c.id: c for c in tones.cuts("test") if c.supervisions[0].speaker in named}
    phonemes = sum(len(cut.supervisions[0].custom["phonemes"]) for cut in meant.values())
    evaluation = evaluate(run)
    assert evaluation.utterances.keys() == meant.keys()
    assert evaluation.total.num_reference == phonemes
    routing = report_run(run, out=tmp_path / "report")
    assert routing.report.speakers == named
    assert sum(routing.report.utterances) == len(meant)
    assert routing.document.contribution.base_error_rate == pytest.approx(
        evaluation.total.error_rate
    )
    clips = clips_of_run(run, ClipQuery(), out=tmp_path / "clips", limit=1)
    assert clips.total == phonemes  # none is shorter than a frame
    compared = compare_runs(run, run, out=tmp_path / "compared").document
    assert compared.num_utterances == len(meant)
    outputs = infer_split(run, tones, "test")
    assert {example.utterance for example in outputs.examples} == meant.keys()


def test_times_are_measured_on_the_same_utterances(
    recognized: Trained, tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    matched_errors = quality.matched_errors

    def noting(truth: list[tuple[str, float, float]], found: object) -> object:
        measured.append(truth)
        # Passed on unread, so the test need not name its type.
        return matched_errors(truth, found)  # type: ignore[arg-type]

    monkeypatch.setattr(quality, "matched_errors", noting)
    assert quality.time_errors(recognized.run, tones, "test") is not None
    assert len(measured) == len(evaluate(recognized.run).utterances)
    measured.clear()
    few = recognized.run.recipe.corpus.model_copy(update={"max_utterances": 2})
    recipe = recognized.run.recipe.model_copy(update={"corpus": few})
    run = replace(recognized.run, recipe=recipe)
    quality.time_errors(run, tones, "test")
    assert len(measured) == len(evaluate(run).utterances) == 2 * len(split_speakers(recipe, tones))


def test_held_out_speakers_are_tested_and_other_corpora_whole(
    classify_recipe: Recipe, tones: PreparedCorpus, foreign: PreparedCorpus
) -> None:
    assert split_speakers(classify_recipe, tones) == tones.speakers
    few = load_recipe(tiny.RECIPES / "tiny_classify.yaml", ["corpus.speakers=[carol, ann]"])
    assert split_speakers(few, tones) == ("ann", "carol", "dan")
    assert split_speakers(few, foreign) == foreign.speakers


def test_a_speaker_gate_keeps_only_speakers_with_an_expert(
    tones: PreparedCorpus, foreign: PreparedCorpus
) -> None:
    stages = "training.stages=[{name: experts, train: [experts], route: speaker, epochs: 1, "
    recipe = load_recipe(
        tiny.RECIPES / "tiny_recognize.yaml",
        [
            "model.gate={kind: speaker}",
            "corpus.speakers=[ann, bob]",
            f"{stages}learning_rate: 1}}]",
        ],
    )
    recognizer = build_recognizer(recipe, tones)
    assert split_speakers(recipe, foreign) == foreign.speakers
    assert split_speakers(recipe, foreign, recognizer) == ("ann", "bob")
    other_speakers = replace(foreign, speakers=("eve",))
    with pytest.raises(InputError, match="no speaker has an expert: found ann, bob"):
        split_speakers(recipe, other_speakers, recognizer)


def test_a_corpus_without_speakers_of_the_recipe_is_refused(
    recognize_recipe: Recipe, tones: PreparedCorpus
) -> None:
    with pytest.raises(InputError, match=r"none of the speakers .*\(ann, bob, carol\)"):
        split_speakers(recognize_recipe, replace(tones, speakers=("dan",)))
