"""No number of the page is typed by hand, and quick results have the form of full ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import reproduction
from phoneme_moe_reproductions import EXPERIMENTS, load_experiment
from phoneme_moe_reproductions.runner import reproduce

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_kept_results_give(tmp_path: Path) -> None:
    written = tmp_path / "reproduction.md"
    reproduction.write_page(written)
    assert written.read_text() == (ROOT / "docs" / "reproduction.md").read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_kept_results_of_its_full_form(name: str) -> None:
    kept = reproduction.kept_results(name)
    assert kept.name == name
    assert not kept.quick
    assert kept.claims
    for figure in kept.figures:
        if figure.endswith(".svg"):
            assert (ROOT / "docs" / "images" / figure).is_file()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_kept_results_describe_the_experiment_as_its_module_does(name: str) -> None:
    kept = reproduction.kept_results(name)
    for key, value in asdict(load_experiment(name).description).items():
        assert getattr(kept, key) == value
        # Every placeholder was filled.
        assert not any("{" in text for text in ([value] if isinstance(value, str) else value))


@pytest.mark.slow
def test_a_quick_form_has_the_form_of_the_kept_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One of them here; CI does all and holds them against what is kept in the same way.
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")
    folder = tmp_path / "jacobs-1991-quick"
    finished = reproduce("jacobs-1991", folder, seeds=2, jobs=2, quick=True)
    assert reproduction.compare(tmp_path) == 0
    assert {path.suffix for path in finished.files} == {".json", ".csv", ".md", ".svg", ".png"}
    assert all(path.stat().st_size > 0 for path in finished.files)
    results = folder / "results.json"
    data = json.loads(results.read_text(encoding="utf-8"))
    data["tables"][0]["columns"][0] = "another heading"
    results.write_text(json.dumps(data), encoding="utf-8")
    assert reproduction.compare(tmp_path) == 1
    assert "another heading" in capsys.readouterr().err
