"""Reports over several seeds: matching of experts, means, intervals, bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tiny
from documents import make_document
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import fresh_run
from scipy import stats
from typer.testing import CliRunner

from benchmarks.schemas import SCHEMAS
from phoneme_moe.cli import app
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.recipe import load_recipe
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.seeds.page import render_seeds
from phoneme_moe.report.seeds.run import report_seeds
from phoneme_moe.report.seeds.summary import estimate, summarize_seeds
from phoneme_moe.report.seeds.text import sentences
from phoneme_moe.run_folder import LoadedRun


def report(**changes: Any) -> RoutingDocument:
    return valid(make_document(6, 5) | changes)


def valid(data: dict[str, Any]) -> RoutingDocument:
    contribution = data["contribution"] | {"uniform": None}
    return RoutingDocument.model_validate(data | {"training": None, "contribution": contribution})


def permuted(document: RoutingDocument, order: Sequence[int]) -> RoutingDocument:
    """The same report with its experts in another order and with other names."""
    data = document.model_dump()
    for key in ("load",):
        data[key] = [data[key][i] for i in order]
    data["weights"] = [[row[i] for i in order] for row in data["weights"]]
    data["speaker_phoneme_weights"] = [
        [None if cell is None else [cell[i] for i in order] for cell in row]
        for row in data["speaker_phoneme_weights"]
    ]
    place = {old: new for new, old in enumerate(order)}
    for removal in data["contribution"]["removal"] or ():
        removal["expert"] = place[removal["expert"]]
    return RoutingDocument.model_validate(data)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_intervals_are_those_of_student(values: list[float]) -> None:
    one = estimate(values)
    assert one.mean == pytest.approx(np.mean(values), abs=1e-9)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert one.interval == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    bounded = estimate(values, -1, 1)
    assert bounded.interval[0] >= -1
    assert bounded.interval[1] <= 1


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(5)))
def test_permuted_experts_are_matched(order: list[int], other: list[int]) -> None:
    first = report()
    reports = [first, permuted(first, order), permuted(first, other)]
    document = summarize_seeds(["a", "b", "c"], [0, 1, 2], reports)
    for line, weights in zip(document.weights, first.weights, strict=True):
        for one, weight in zip(line, weights, strict=True):
            assert one.values == pytest.approx([weight] * 3)
            assert one.interval == pytest.approx((weight, weight))
    for run in document.runs:
        assert run.agreement == pytest.approx([1.0] * 5)
    place = {old: first.experts[new] for new, old in enumerate(order)}
    assert document.runs[1].experts == [place[i] for i in range(5)]
    assert all(len(set(leading)) == 1 for leading in document.leading)
    removal = first.contribution.removal
    assert removal is not None
    assert document.removal is not None
    for one in removal:
        assert document.removal[one.expert].values == pytest.approx([one.change] * 3)


def test_experts_named_after_speakers_are_matched_by_name() -> None:
    first = valid(make_document(6))
    order = [2, 0, 1, 5, 4, 3]
    second = permuted(first, order)
    named = second.model_copy(update={"experts": [first.experts[i] for i in order]})
    # What its experts do is exchanged, and yet names decide.
    swapped = named.model_copy(update={"weights": first.weights})
    document = summarize_seeds(["a", "b"], [0, 1], [first, swapped])
    assert document.runs[1].experts == first.experts


def test_a_change_of_the_leading_expert_is_told() -> None:
    first = report()
    data = first.model_dump()
    speaker = 1
    other, best = np.argsort(data["weights"][speaker])[-2:]
    line = data["weights"][speaker]
    line[best], line[other] = line[other], line[best]
    document = summarize_seeds(["a", "b"], [3, 4], [first, RoutingDocument.model_validate(data)])
    text = " ".join(sentences(document))
    assert "1 of 6 speakers have another leading expert in some run: fsu." in text
    assert "Over 2 seeds (3 and 4)" in text
    page = render_seeds(document)
    assert "1 of 2" in page
    assert "<script" not in page


def test_reports_on_other_speech_are_refused() -> None:
    first = report()
    other = first.model_copy(update={"speakers": [*first.speakers[1:], "zoe"]})
    with pytest.raises(InputError, match="b: its report has other speakers than that of a"):
        summarize_seeds(["a", "b"], [0, 1], [first, other])
    fewer = valid(make_document(6, 4) | {"num_utterances": first.num_utterances})
    with pytest.raises(InputError, match="b: found 4 experts, expected 5 as in a"):
        summarize_seeds(["a", "b"], [0, 1], [first, fewer])


@pytest.fixture(scope="module")
def runs(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> list[LoadedRun]:
    root = tmp_path_factory.mktemp("seeds")
    return [
        fresh_run(
            root / f"run_{seed}",
            load_recipe(tiny.RECIPES / "tiny_sparse.yaml", [f"seed={seed}"]),
            experts=("encoder",),
            seed=seed,
        )
        for seed in (0, 1)
    ]


@pytest.mark.slow
def test_runs_of_two_seeds_are_reported(runs: list[LoadedRun], tmp_path: Path) -> None:
    folders = [str(run.folder) for run in runs]
    options = ["--out", str(tmp_path / "both"), "--figures", str(tmp_path / "figures")]
    result = CliRunner().invoke(app, ["report", *folders, *options])
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["01_speakers.svg", "captions.txt"]
    for name in names:
        assert f"{name}:" in result.output
    assert "Over 2 seeds (0 and 1) the phoneme error rate is" in " ".join(result.output.split())
    data = json.loads((tmp_path / "both" / "seeds.json").read_text())
    schema = json.loads((SCHEMAS / "seeds.schema.json").read_text())
    jsonschema.validate(data, schema)
    alone = [json.loads((run.folder / "report" / "routing.json").read_text()) for run in runs]
    rates = [one["contribution"]["base_error_rate"] for one in alone]
    assert data["error_rate"]["values"] == pytest.approx(rates)
    weights = np.array([[cell["mean"] for cell in line] for line in data["weights"]])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    order = [alone[1]["experts"].index(name) for name in data["runs"][1]["experts"]]
    both = (np.array(alone[0]["weights"]) + np.array(alone[1]["weights"])[:, order]) / 2
    np.testing.assert_allclose(weights, both, atol=1e-6)
    assert "seeds.json" in (tmp_path / "both" / "seeds.html").read_text()


def test_an_utterance_is_for_a_single_run(runs: list[LoadedRun]) -> None:
    folders = [str(run.folder) for run in runs]
    result = CliRunner().invoke(app, ["report", *folders, "--utterance", "ann-0"])
    assert result.exit_code == 1
    assert "utterance: expected a single run" in str(result.exception)


def test_runs_that_differ_in_more_than_the_seed_are_refused(
    runs: list[LoadedRun], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"found seed 0, which .* has, expected another"):
        report_seeds([runs[0], runs[0]])
    recipe = load_recipe(tiny.RECIPES / "tiny_sparse.yaml", ["seed=5", "training.batch_size=3"])
    other = fresh_run(tmp_path / "other", recipe, experts=("encoder",))
    with pytest.raises(InputError, match=r"differs from that of .* in more than the seed"):
        report_seeds([runs[0], other])
