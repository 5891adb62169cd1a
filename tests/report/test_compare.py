from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import tiny
from runs import fresh_run, permuted_copy, permuted_layers

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import Recipe, load_recipe, validate_recipe
from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.report.compare.error_rates import error_rates
from phoneme_moe.report.compare.page import render_comparison
from phoneme_moe.report.compare.run import STEPS, compare_runs
from phoneme_moe.report.compare.section_errors import errors_section
from phoneme_moe.report.compare.text import _corpora, comparison_text, verdict
from phoneme_moe.run_folder import LoadedRun

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "comparison.schema.json").read_text()
)


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    data = recipe.model_dump(mode="json")
    for name, values in sections.items():
        data[name] = {**data[name], **values}
    # Nobody trains it, and the stages would have to fit the experts.
    data["training"]["stages"] = [{"name": "all", "epochs": 1, "learning_rate": 0.01}]
    return validate_recipe(data, "test")


def compared(a: LoadedRun, b: LoadedRun, folder: Path, **options: Any) -> dict[str, Any]:
    """The document, after checking what holds of every comparison."""
    written = compare_runs(a, b, out=folder, **options)
    assert [path.name for path in written.files] == ["comparison.html", "comparison.json"]
    document = json.loads((folder / "comparison.json").read_text())
    assert ComparisonDocument.model_validate(document) == written.document
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    page = (folder / "comparison.html").read_text()
    HTMLParser().feed(page)
    assert "<script" not in page
    assert re.findall(r'(?:href|src)="([^"#]*)', page).count("comparison.json") == 1
    assert not re.findall(r'(?:href|src)="(?!#|comparison\.json|data:,")|url\(|@import', page)
    return document


def printed(document: dict[str, Any]) -> list[str]:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_text(ComparisonDocument.model_validate(document)))
    return console.export_text().splitlines()


def assert_the_same(document: dict[str, Any]) -> None:
    """What holds of two runs that do the same, whatever the order of their experts."""
    for measure in document["agreement"]["measures"]:
        assert measure["value"] == pytest.approx(1, abs=1e-5)
    for pair in document["matching"]["pairs"]:
        assert pair["common"] == pytest.approx(1, abs=1e-5)
        assert pair["correlation"] == pytest.approx(1, abs=1e-5)
    for speaker in document["routing_by_speaker"]:
        assert speaker["distance"] == pytest.approx(0, abs=1e-5)
        assert not speaker["significant"]
    for rates in (document["error_rate"], *document["error_rate"]["by_speaker"]):
        assert (rates["difference"], rates["p"]) == (0, 1)
        # No difference here is no proof of none elsewhere.
        assert rates["interval"][0] == -rates["interval"][1] < 0
    assert document["utterances"] == []


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_a_run_is_like_itself(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = request.getfixturevalue(fixture).run
    document = compared(run, run, tmp_path)
    assert_the_same(document)
    matching = document["matching"]
    assert all(pair["a"] == pair["b"] for pair in matching["pairs"])
    assert [one["load"] for one in matching["unmatched_a"]] == [0] * (3 - len(matching["pairs"]))
    assert document["error_rate"]["identical"] == document["num_utterances"]
    assert len(printed(document)) <= 30


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_experts_in_another_order_are_matched_back(
    recognized: Trained, order: tuple[int, ...], tmp_path: Path
) -> None:
    other = permuted_copy(recognized.run, tmp_path / "other", order)
    document = compared(recognized.run, other, tmp_path / "out")
    assert_the_same(document)
    experts = recognized.run.recognizer.expert_names
    partners = {pair["a"]: pair["b"] for pair in document["matching"]["pairs"]}
    # The files keep the names where they were, so place i now holds expert order[i].
    assert partners == {experts[expert]: experts[place] for place, expert in enumerate(order)}


@pytest.mark.slow
def test_experts_of_a_sparse_layer_are_matched_back(tones: PreparedCorpus, tmp_path: Path) -> None:
    recipe = load_recipe(tiny.RECIPES / "tiny_sparse.yaml")
    run = fresh_run(tmp_path / "one", recipe)
    other = permuted_layers(run, tmp_path / "other", (3, 1, 0, 2))
    document = compared(run, other, tmp_path / "out", layer="block_1")
    assert_the_same(document)
    assert {pair["a"]: pair["b"] for pair in document["matching"]["pairs"]} == {
        "expert_0": "expert_2",
        "expert_1": "expert_1",
        "expert_2": "expert_3",
        "expert_3": "expert_0",
    }
    assert (document["a"]["layer"], document["b"]["layer"]) == ("block_1", "block_1")
    between = compared(run, run, tmp_path / "layers", layer="block_1", layer_b="block_2")
    assert between["a"]["name"] == "one block_1"
    assert between["agreement"]["measures"][0]["value"] < 1
    assert between["error_rate"]["difference"] == 0


def test_error_rates_are_those_of_evaluate(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    other = fresh_run(tmp_path / "other", recognize_recipe)
    document = compared(recognized.run, other, tmp_path / "out")
    rates, before, after = document["error_rate"], evaluate(recognized.run), evaluate(other)
    assert (rates["a"], rates["b"]) == (before.total.error_rate, after.total.error_rate)
    change = after.against(before)
    assert rates["difference"] == change.difference
    # Utterances come in another order, so other ones are drawn.
    assert rates["interval"] == pytest.approx(change.interval, abs=0.1)
    assert rates["p"] == pytest.approx(change.p, abs=0.01)
    assert rates["better"] + rates["worse"] + rates["same"] == document["num_utterances"]
    for one in rates["by_speaker"]:
        assert one["a"] == before.by_speaker[one["speaker"]].error_rate
        assert one["q"] >= one["p"]
    assert rates["difference"] > 0
    assert "more errors than A" in document["verdict"][0]
    assert len(document["utterances"]) <= 20
    assert len(printed(document)) <= 30
    assert max(map(len, printed(document))) <= 80


def test_speakers_means_are_those_of_their_frames(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    other = fresh_run(tmp_path / "other", recognize_recipe)
    document = compared(recognized.run, other, tmp_path / "out")
    report = recognized.routing.report
    slots = [slot["a"] for slot in document["matching"]["slots"]]
    for one in document["routing_by_speaker"]:
        expected = dict(
            zip(report.experts, report.weights[report.speakers.index(one["speaker"])], strict=True)
        )
        expected[None] = 0.0
        np.testing.assert_allclose(one["before"], [expected[name] for name in slots], atol=1e-5)
        distance = np.abs(np.array(one["before"]) - one["after"]).sum() / 2
        assert one["distance"] == pytest.approx(distance)
    firsts = np.array(document["matching"]["first_experts"])
    assert firsts.sum() == document["num_rows"]


def test_runs_with_other_frames_and_more_experts_are_compared_in_time(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    finer = changed(recognize_recipe, features={"stack": 1}, model={"num_experts": 5})
    names = [f"expert_{i}" for i in range(5)]
    other = fresh_run(tmp_path / "other", finer, experts=names)
    document = compared(recognized.run, other, tmp_path / "out")
    assert document["frame_seconds"] == pytest.approx(0.01)
    assert len(document["matching"]["pairs"]) + len(document["matching"]["unmatched_b"]) == 5
    assert len(document["matching"]["unmatched_b"]) >= 2
    mirrored = compared(other, recognized.run, tmp_path / "mirrored")
    assert mirrored["num_rows"] == document["num_rows"]
    for one, way_back in zip(
        document["routing_by_speaker"], mirrored["routing_by_speaker"], strict=True
    ):
        assert one["distance"] == pytest.approx(way_back["distance"], abs=1e-6)


def test_a_run_without_a_gate_is_compared_by_its_errors(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(recognize_recipe, model={"num_experts": 1, "gate": None})
    pooled = fresh_run(tmp_path / "pooled", recipe, experts=["expert_0"])
    document = compared(recognized.run, pooled, tmp_path / "out")
    assert document["matching"] is document["agreement"] is document["routing_by_speaker"] is None
    assert document["missing"] == [
        "Routing is not compared: run B has no gate and no sparse layer."
    ]
    assert document["error_rate"]["a"] == evaluate(recognized.run).total.error_rate
    assert all(one["first_a"] is None and one["columns"] for one in document["utterances"])
    assert len(printed(document)) <= 30


def test_other_phonemes_leave_the_routing_to_compare(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    other = fresh_run(tmp_path / "other", recognize_recipe, phonemes=("a", "i", "m"))
    document = compared(recognized.run, other, tmp_path / "out")
    assert document["error_rate"] is None
    assert document["missing"] == [
        "Error rates are not compared: the phoneme sets of the runs differ (A 4, B 3 phonemes)."
    ]
    assert all(one["columns"] is None for one in document["utterances"])
    assert len(document["agreement"]["measures"]) == 3
    recipe = changed(recognize_recipe, model={"num_experts": 1, "gate": None})
    pooled = fresh_run(tmp_path / "pooled", recipe, ("a", "i", "m"), ["expert_0"])
    with pytest.raises(InputError, match=r"phoneme sets differ \(1 only in .*there is nothing"):
        compare_runs(recognized.run, pooled, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_compared_is_refused_by_name(
    recognized: Trained,
    classified: Trained,
    recognize_recipe: Recipe,
    foreign: PreparedCorpus,
    alien: PreparedCorpus,
    tmp_path: Path,
) -> None:
    run = recognized.run
    with pytest.raises(InputError, match="classifies tokens: expected two runs of the same task"):
        compare_runs(run, classified.run, out=tmp_path)
    with pytest.raises(InputError, match="no layer 'block_9'; this run has no sparse layers"):
        compare_runs(run, run, layer="block_9", out=tmp_path)
    with pytest.raises(InputError, match="none of its phonemes"):
        compare_runs(run, run, corpus=alien.name, out=tmp_path)
    elsewhere = changed(recognize_recipe, corpus={"name": foreign.name})
    other = fresh_run(tmp_path / "elsewhere", elsewhere)
    with pytest.raises(InputError, match=r"corpus: .* was trained on tones and .* on foreign"):
        compare_runs(run, other, out=tmp_path / "out")
    only = changed(recognize_recipe, corpus={"speakers": ["dan"]})
    other = fresh_run(tmp_path / "dan", only)
    with pytest.raises(InputError, match="no speaker is usable by both"):
        compare_runs(run, other, out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dan", "elsewhere"]


def test_another_corpus_serves_runs_of_two(
    recognized: Trained, recognize_recipe: Recipe, foreign: PreparedCorpus, tmp_path: Path
) -> None:
    elsewhere = changed(recognize_recipe, corpus={"name": foreign.name})
    other = fresh_run(tmp_path / "elsewhere", elsewhere)
    document = compared(recognized.run, other, tmp_path / "out", corpus=foreign.name)
    assert document["corpus"] == "foreign"
    assert {one["speaker"] for one in document["routing_by_speaker"]} == {"ann", "bob", "carol"}


def test_the_page_and_the_words_hold_whatever_names_there_are(
    recognized: Trained, recognize_recipe: Recipe, tmp_path: Path
) -> None:
    other = fresh_run(tmp_path / "other", recognize_recipe)
    document = compared(recognized.run, other, tmp_path / "out")
    bad = "<img src=x onerror=alert(1)>\"'&/\u202e\u05d0"
    text = json.dumps(document).replace('"ann"', json.dumps(bad))
    hostile = json.loads(text.replace('"carol', json.dumps(bad + "carol")[:-1]))
    for one in hostile["utterances"]:
        one["utterance"] = bad
    hostile["verdict"] = verdict(ComparisonDocument.model_validate(hostile))
    page = render_comparison(ComparisonDocument.model_validate(hostile))
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;" in page
    assert printed(hostile)


@pytest.mark.slow
def test_large_comparisons_stay_small_on_the_page() -> None:
    random = np.random.default_rng(0)
    experts = [f"expert_{i}" for i in range(64)]
    weights = random.dirichlet(np.ones(64), (1000, 2))
    speakers = [f"speaker_{i:04}" for i in range(1000)]
    rates = {
        "utterances": 3, "phonemes": 90, "a": 0.3, "interval_a": [0.2, 0.4], "b": 0.2,
        "interval_b": [0.1, 0.3], "difference": -0.1, "interval": [-0.2, 0.1], "p": 0.2,
        "better": 2, "worse": 0, "same": 1,
    }  # fmt: skip
    table = random.random((64, 64)) / 64
    content = {
        "version": 1,
        "title": "a and b",
        "missing": [],
        **{
            run: {"name": run, "folder": run, "recipe": run, "layer": None, "experts": experts}
            for run in ("a", "b")
        },
        "corpus": "large", "split": "test", "task": "recognize", "unit": "frame",
        "frame_seconds": 0.04, "num_utterances": 3000, "num_rows": 300_000,
        "error_rate": {
            "measure": "per", "fold": "none (39 phonemes)", **rates, "identical": 0,
            "by_speaker": [
                {"speaker": s, **rates, "q": 0.4, "significant": False} for s in speakers
            ],
        },
        "matching": {
            "experts_a": experts, "experts_b": experts,
            "pairs": [
                {"a": e, "b": e, "load_a": 1 / 64, "load_b": 1 / 64, "shared": 1 / 80,
                 "common": 0.6, "correlation": 0.7} for e in experts
            ],
            "unmatched_a": [], "unmatched_b": [], "shared": table.tolist(),
            "first_experts": random.integers(9, size=(64, 64)).tolist(),
            "slots": [{"a": e, "b": e} for e in experts],
        },
        "agreement": {"shuffles": 200, "measures": [
            {"measure": m, "value": 0.8, "interval": [0.7, 0.9], "chance": 0.1,
             "corrected": 0.78, "p": 0.005, "speaker_chance": 0.2, "speaker_corrected": 0.75,
             "speaker_p": 0.005} for m in ("weight", "first_expert", "information")
        ]},
        "routing_by_speaker": [
            {"speaker": s, "utterances": 3, "rows": 300, "before": w[0].tolist(),
             "after": w[1].tolist(), "distance": 0.4, "interval": [0.3, 0.5], "p": 0.001,
             "q": 0.002, "significant": True} for s, w in zip(speakers, weights, strict=True)
        ],
        "utterances": [],
    }  # fmt: skip
    without_verdict = ComparisonDocument.model_validate({**content, "verdict": []})
    document = {**content, "verdict": verdict(without_verdict)}
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    page = render_comparison(ComparisonDocument.model_validate(document))
    assert len(page.encode()) < 4_000_000
    assert len(printed(document)) <= 30


def test_progress_has_the_promised_number_of_steps(recognized: Trained, tmp_path: Path) -> None:
    steps: list[None] = []
    compare_runs(recognized.run, recognized.run, out=tmp_path, step=lambda: steps.append(None))
    assert len(steps) == STEPS


def test_several_corpora_have_differences_of_their_own() -> None:
    names = [f"{corpus}/{number}" for corpus in ("one", "two") for number in range(8)]
    examples: Any = [SimpleNamespace(utterance=name, phonemes=tuple("abcd")) for name in names]
    right = {name: list("abcd") for name in names}
    wrong = right | {name: list("abxd") for name in names if name.startswith("two")}

    def run(hypotheses: dict[str, list[str]]) -> Any:
        return SimpleNamespace(kind="recognize", phonemes=set("abcdx"), hypotheses=hypotheses)

    speakers, speaker = ["s"], np.zeros(len(names), dtype=np.int64)
    rates = error_rates(run(right), run(wrong), examples, speakers, speaker, ["one", "two", "no"])
    first, second = rates.by_corpus
    assert (first.corpus, first.difference, first.p) == ("one", 0.0, 1.0)
    assert (second.corpus, second.a, second.b, second.worse) == ("two", 0.0, 0.25, 8)
    assert second.p < 0.01
    assert rates.b == 0.125
    text = _corpora(rates)
    assert text.startswith("By corpus: one 0.0 % and 0.0 % (0.0 points, p = 1.00); two 0.0 % and")
    page = str(errors_section(rates))
    assert "all of one" in page
    assert "all of two" in page
    assert error_rates(run(right), run(wrong), examples, speakers, speaker).by_corpus == []
