"""No number of the page is typed by hand, and quick forms have the form of full ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import reproduction
from phoneme_moe.reproduce import EXPERIMENTS
from phoneme_moe.reproduce.runner import reproduce

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_kept_results_give(tmp_path: Path) -> None:
    written = tmp_path / "reproduction.md"
    reproduction.write_page(written)
    assert written.read_text() == (ROOT / "docs" / "reproduction.md").read_text()


def test_every_experiment_has_kept_results_of_its_full_form() -> None:
    for name in EXPERIMENTS:
        kept = kept_results(name)
        assert kept["name"] == name
        assert not kept["quick"]
        for figure in kept["figures"]:
            if figure.endswith(".svg"):
                assert (ROOT / "docs" / "images" / figure).is_file()


def kept_results(name: str) -> dict[str, Any]:
    file = reproduction.RESULTS / name / "results.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def form(data: dict[str, Any]) -> dict[str, Any]:
    """What of a result does not hang on its numbers."""
    return {
        "figures": data["figures"],
        "tables": {
            table["name"]: (table["title"], table["columns"], [row[0] for row in table["rows"]])
            for table in data["tables"]
        },
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_quick_form_has_the_form_of_the_full_one(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")
    if name.endswith("-digits"):
        request.getfixturevalue("prepared_digits")
    if name == "ensembles":
        pytest.importorskip("xgboost", reason="needs xgboost (extra boosting)")
    reproduce(name, tmp_path, quick=True)
    quick = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert quick["quick"]
    assert form(quick) == form(kept_results(name))
    # Claims that need several seeds may be missing, none may be new.
    kept = [claim["statement"] for claim in kept_results(name)["claims"]]
    for claim in quick["claims"]:
        assert claim["statement"] in kept or "prior" in claim["statement"]
