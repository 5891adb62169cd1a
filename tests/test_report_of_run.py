from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.errors import ArgumentError
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.report.collect.observe import collect_routing
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.run import report_run

FILES = {
    "routing.json",
    "routing.csv",
    "routing.parquet",
    "routing.svg",
    "routing.png",
    "report.html",
}
SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "schemas" / "routing.schema.json").read_text()
)


def examples_of(trained: Trained, tones: PreparedCorpus) -> list[Example]:
    return load_examples(trained.run.recipe, tones, "test", trained.run.recognizer)


def test_every_real_frame_has_a_row_that_sums_to_one(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    examples = examples_of(recognized, tones)
    table = collect_routing(recognized.run.recognizer, examples)
    # Two frames are joined into one; an odd last one stands alone.
    frames = {e.utterance: -(-len(e.features) // 2) for e in examples}
    assert len(table.weights) == sum(frames.values())
    np.testing.assert_allclose(table.weights.sum(axis=1), 1, atol=1e-6)
    rows = dict(zip(*np.unique(table.utterance, return_counts=True), strict=True))
    assert {table.utterances[u]: n for u, n in rows.items()} == frames
    for utterance, speaker in zip(table.utterance, table.speaker, strict=True):
        assert table.utterances[utterance].startswith(table.speakers[speaker])


def test_the_weights_are_those_of_each_utterance_alone(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    recognizer = recognized.run.recognizer
    examples = examples_of(recognized, tones)
    table = collect_routing(recognizer, examples)
    for example in examples[:5]:
        features = example.features[None]
        with torch.no_grad():
            routing = recognizer(features, torch.ones(features.shape[:2], dtype=torch.bool)).routing
        rows = table.utterance == table.utterances.index(example.utterance)
        np.testing.assert_allclose(table.weights[rows], routing.weights[0].numpy(), atol=1e-5)


def test_a_frame_has_the_phoneme_spoken_at_its_centre(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    table = collect_routing(recognized.run.recognizer, examples_of(recognized, tones))
    seconds = recognized.run.recognizer.frame_seconds
    assert seconds == pytest.approx(0.02)
    for cut in tones.cuts("test"):
        rows = np.flatnonzero(table.utterance == table.utterances.index(cut.id))
        for frame, row in enumerate(rows):
            centre = (frame + 0.5) * seconds
            spoken = [
                item.symbol
                for item in cut.supervisions[0].alignment["phoneme"]
                if item.start <= centre < item.start + item.duration
            ]
            labels = table.phoneme[row]
            assert ([] if labels == -1 else [table.phonemes[labels]]) == spoken


def test_a_token_is_one_row_of_its_phoneme(classified: Trained, tones: PreparedCorpus) -> None:
    examples = examples_of(classified, tones)
    table = collect_routing(classified.run.recognizer, examples)
    assert len(table.weights) == len(examples)
    phonemes = {e.utterance: e.phonemes[0] for e in examples}
    for utterance, phoneme in zip(table.utterance, table.phoneme, strict=True):
        assert table.phonemes[phoneme] == phonemes[table.utterances[utterance]]


def test_without_times_frames_are_aligned_in_the_order_spoken(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    timed = examples_of(recognized, tones)
    untimed = [Example(e.utterance, e.speaker, e.phonemes, e.features) for e in timed]
    table = collect_routing(recognized.run.recognizer, untimed)
    exact = collect_routing(recognized.run.recognizer, timed)
    np.testing.assert_array_equal(table.weights, exact.weights)
    for example in timed:
        rows = table.utterance == table.utterances.index(example.utterance)
        labels = table.phoneme[rows]
        changes = labels[np.flatnonzero(np.diff(labels, prepend=-2))]
        named = [table.phonemes[i] for i in changes if i != -1]
        without_repeats = [
            p for i, p in enumerate(example.phonemes) if i == 0 or example.phonemes[i - 1] != p
        ]
        assert named == without_repeats
    both = (table.phoneme != -1) & (exact.phoneme != -1)
    assert (table.phoneme[both] == exact.phoneme[both]).mean() > 0.6


def test_more_phonemes_than_frames_are_not_aligned(recognized: Trained) -> None:
    example = Example("x", "ann", ("a", "i", "m", "s") * 3, torch.randn(10, 16))
    table = collect_routing(recognized.run.recognizer, [example])
    assert (table.phoneme == -1).all()


@pytest.mark.parametrize(("fixture", "unit"), [("recognized", "frame"), ("classified", "token")])
def test_training_leaves_a_report_of_the_gate(
    fixture: str, unit: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    folder = trained.run.folder / "report"
    assert {path.name for path in folder.iterdir()} == FILES
    assert set(trained.routing.files) == {folder / name for name in FILES}
    data = json.loads((folder / "routing.json").read_text())
    assert trained.routing.report.experts == ("ann", "bob", "carol")
    weights = np.array(data["weights"])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    with (folder / "routing.csv").open() as file:
        assert list(csv.reader(file))
    assert trained.routing.report.unit == unit


def test_a_speakers_row_is_the_mean_over_the_speakers_frames(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    table = collect_routing(recognized.run.recognizer, examples_of(recognized, tones))
    report = recognized.routing.report
    for row, speaker in enumerate(report.speakers):
        speaker_rows = table.weights[table.speaker == table.speakers.index(speaker)]
        np.testing.assert_allclose(report.weights[row], speaker_rows.mean(axis=0), atol=1e-5)


def test_a_report_of_another_split_goes_where_it_is_told(
    classified: Trained, tmp_path: Path
) -> None:
    written = report_run(classified.run, "dev", str(tmp_path / "dev"))
    assert {path.name for path in (tmp_path / "dev").iterdir()} == FILES
    assert set(written.report.speakers) == set(tiny.SPEAKERS)


def test_a_report_on_another_corpus_names_phonemes_that_the_model_does_not_know(
    recognized: Trained, foreign: PreparedCorpus, tmp_path: Path
) -> None:
    examples = load_examples(recognized.run.recipe, foreign, "test", recognized.run.recognizer)
    table = collect_routing(recognized.run.recognizer, examples)
    assert table.phonemes == ("a", "i", "m", "s", "o")
    assert (table.phoneme == 4).any()
    written = report_run(recognized.run, out=tmp_path / "report", corpus_name=foreign.name)
    assert set(written.report.speakers) == set(tiny.SPEAKERS)


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_the_whole_report_fits_the_schema(fixture: str, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    data = json.loads((trained.run.folder / "report" / "routing.json").read_text())
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert data == trained.routing.document.model_dump(mode="json")
    assert RoutingDocument.model_validate(data) == trained.routing.document
    weights, intervals = np.array(data["weights"]), np.array(data["weight_intervals"])
    assert (intervals[..., 0] <= weights + 1e-6).all()
    assert (weights <= intervals[..., 1] + 1e-6).all()
    assert {test["name"] for test in data["tests"]} >= {"speaker_information", "own_share"}
    assert len(data["contribution"]["removal"]) == 3
    np.testing.assert_allclose(np.sum(data["contribution"]["credit"], axis=1), 1, atol=1e-4)
    assert [layer["layer"] for layer in data["training"]["layers"]] == ["gate"]
    assert data["utterances"]
    assert data["verdict"]
    assert data["cost"]["multiply_adds_per_frame"] > 0


def test_the_parquet_table_has_the_means_of_the_report(recognized: Trained) -> None:
    report = recognized.routing.report
    table = pq.read_table(recognized.run.folder / "report" / "routing.parquet")
    sums = table.group_by(["speaker", "expert"]).aggregate([("weight", "sum")]).to_pylist()
    assert len(sums) == report.weights.size
    for row in sums:
        speaker = report.speakers.index(row["speaker"])
        mean = row["weight_sum"] / report.rows[speaker]
        expected = report.weights[speaker, report.experts.index(row["expert"])]
        assert mean == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_pooled_run_gets_a_report_that_says_so(tones: PreparedCorpus, tmp_path: Path) -> None:
    recipe = load_recipe(tiny.RECIPES / "tiny_pooled.yaml")
    trained = train(recipe, tmp_path / "pooled", device="cpu")
    document = trained.routing.document
    jsonschema.validate(document.model_dump(mode="json"), SCHEMA)
    assert document.missing[0].startswith("The run has one expert and no gate")
    assert document.tests == []
    assert document.clustering is None
    assert document.contribution.removal is None
    assert document.utterances  # there is something to listen to all the same
    page = (tmp_path / "pooled" / "report" / "report.html").read_text()
    assert "one expert and no gate" in page


def test_one_speaker_and_an_unknown_utterance(
    recognized: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"^utterance: no utterance 'x'"):
        report_run(recognized.run, out=tmp_path / "none", utterances=["x"])
    assert not (tmp_path / "none" / "routing.parquet").exists()
    name = next(cut.id for cut in tones.cuts("test"))
    written = report_run(recognized.run, out=tmp_path / "asked", utterances=[name])
    assert written.document.utterances[0].utterance == name
    assert written.document.utterances[0].why == "asked"
