"""The report that came with an exported run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from phoneme_moe import load
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.build_document import report_of
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import Counts
from phoneme_moe.report.stored import CAVEAT

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome


@pytest.mark.slow
def test_a_report_comes_back_from_its_document(recognized: Trained, tmp_path: Path) -> None:
    written = recognized.run.report(out=tmp_path)
    document = RoutingDocument.read(tmp_path / "routing.json")
    found = report_of(document)
    for field in fields(found):
        value, expected = (getattr(report, field.name) for report in (found, written.report))
        if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
            # Six decimals are written of some.
            np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=field.name)
        else:
            np.testing.assert_array_equal(value, expected, err_msg=field.name)


@pytest.mark.parametrize("weights", [[[[0.25, 0.75], None]], [[None, [0.25, 0.75]]]])
def test_phonemes_that_do_not_occur_have_no_weights(weights: list[Any]) -> None:
    document = RoutingDocument.model_construct(
        unit="frame",
        experts=["a", "b"],
        speakers=["ann"],
        phonemes=["i", "u"],
        num_utterances=1,
        weights=[[0.25, 0.75]],
        counts=Counts(rows=[4], utterances=[1]),
        effective_experts=[1.5],
        effective_per_row=[1.5],
        load=[0.25, 0.75],
        phoneme_weights=[[0.25, 0.75], [0.25, 0.75]],
        phoneme_counts=Counts(rows=[4, 1], utterances=[1, 1]),
        speaker_phoneme_weights=weights,
        speaker_phoneme_rows=[[4, 0]],
    )
    found = report_of(document).speaker_phoneme_weights
    assert found.shape == (1, 2, 2)
    missing = [row is None for row in weights[0]]
    assert np.isnan(found[0]).all(axis=1).tolist() == missing
    assert found[0][~np.array(missing)].tolist() == [[0.25, 0.75]]


@pytest.fixture
def exported(recognized: Trained, tones: PreparedCorpus, tmp_path: Path) -> Path:
    recognized.run.export_run(tmp_path / "exported")
    return tmp_path / "exported"


@pytest.mark.slow
def test_without_its_corpus_an_exported_run_shows_the_report_that_came_with_it(
    exported: Path,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = phoneme_moe("report", exported, "--out", tmp_path / "here")
    assert here.code == 0
    assert CAVEAT not in here.out
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "nothing"))
    there = phoneme_moe("report", exported, "--out", tmp_path / "there")
    assert there.code == 0, there.err
    assert CAVEAT.split(",")[0] in " ".join(there.out.split())
    written = {path.name for path in (tmp_path / "there").iterdir() if path.suffix}
    assert written == {"report.html", "routing.json", "routing.csv", "routing.svg", "routing.png"}
    table = (exported / "report" / "routing.csv").read_text()
    assert (tmp_path / "there" / "routing.csv").read_text() == table
    again = load(exported).report(out=tmp_path / "again")
    usual = RoutingDocument.read(tmp_path / "here" / "routing.json")
    assert again.document.verdict == usual.verdict


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--split", "dev"], ["--corpus", "tones"], ["--utterance", "x"]]
)
def test_anything_else_needs_the_corpus(
    exported: Path,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "nothing"))
    outcome = phoneme_moe("report", exported, "--out", tmp_path / "there", *options)
    assert outcome.code == 1
    assert "corpus 'tones'" in outcome.err
    assert not (tmp_path / "there" / "report.html").exists()
