"""Jobs run once, in any order, and resume after an interruption."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phoneme_moe.errors import InputError
from phoneme_moe_reproductions import runner
from phoneme_moe_reproductions.experiment import Description, Experiment, Job
from phoneme_moe_reproductions.results import (
    Claim,
    Outcome,
    ReproductionDocument,
    Table,
    cell_text,
    markdown,
    table_csv,
)
from phoneme_moe_reproductions.statistics import Estimate, estimate

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "reproduction.schema.json"


class StoppedError(Exception):
    """Stands for a kill in the middle."""


def squares(done: list[int], stop_at: int | None = None) -> Experiment:
    """An experiment that squares numbers, notes which, and may die at one of them."""

    def run(settings: Mapping[str, Any]) -> dict[str, Any]:
        number = settings["number"]
        if number == stop_at:
            raise StoppedError
        done.append(number)
        return {"square": number**2}

    def conclude(results: Mapping[str, Any]) -> Outcome:
        values = [result["square"] for result in results.values()]
        row = ("squares", 2, estimate(values), None)
        table = Table("squares", "Squares", ("system", "1991", "ours", "note"), (row,), digits=2)
        claim = Claim("Squares grow.", "yes", f"up to {max(values)}", values == sorted(values))
        return Outcome((table,), (claim,))

    return Experiment(
        name="squares",
        description=Description("Nobody, 1991", "Do they grow?", ("Numbers",), ("Which",), ()),
        seeds=4,
        quick_seeds=2,
        plan=lambda seeds, quick: [
            Job(f"n{n}", {"number": n, "quick": quick}) for n in range(seeds)
        ],
        run=run,
        conclude=conclude,
        draw=lambda results, folder: [],
    )


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda experiment: monkeypatch.setattr(runner, "load_experiment", lambda _: experiment)


def test_an_interrupted_reproduction_goes_on_where_it_stopped(install: Any, tmp_path: Path) -> None:
    done: list[int] = []
    install(squares(done, stop_at=2))
    with pytest.raises(StoppedError):
        runner.reproduce("squares", tmp_path / "cut", jobs=1)
    assert done == [0, 1]
    assert not (tmp_path / "cut" / "results.json").exists()
    progress: list[tuple[int, int]] = []
    install(squares(done))
    resumed = runner.reproduce(
        "squares", tmp_path / "cut", jobs=1, progress=lambda *n: progress.append(n)
    )
    assert done == [0, 1, 2, 3]
    assert progress == [(2, 4), (3, 4), (4, 4)]
    whole = runner.reproduce("squares", tmp_path / "whole", jobs=1)
    assert resumed.outcome == whole.outcome
    for path in whole.files:
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_other_settings_and_spoilt_files_are_done_again(install: Any, tmp_path: Path) -> None:
    done: list[int] = []
    install(squares(done))
    runner.reproduce("squares", tmp_path, jobs=1, seeds=2)
    (tmp_path / "jobs" / "n0.json").write_text("{", encoding="utf-8")
    runner.reproduce("squares", tmp_path, jobs=1, seeds=2)
    assert done == [0, 1, 0]
    runner.reproduce("squares", tmp_path, jobs=1, seeds=2, quick=True)
    assert done == [0, 1, 0, 0, 1]


def test_results_fit_the_schema_and_the_table_keeps_its_numbers(
    install: Any, tmp_path: Path
) -> None:
    install(squares([]))
    reproduction = runner.reproduce("squares", tmp_path, jobs=1)
    data = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(data, schema, jsonschema.Draft202012Validator)
    assert data["claims"][0]["holds"] is True
    ours = reproduction.outcome.tables[0].rows[0][2]
    assert isinstance(ours, Estimate)
    rows = list(csv.DictReader((tmp_path / "squares.csv").read_text().splitlines()))
    assert float(rows[0]["ours"]) == ours.mean == 3.5
    assert float(rows[0]["ours low"]) == ours.low
    assert rows[0]["ours runs"] == "4"
    assert rows[0]["note"] == ""
    document = ReproductionDocument.parse_json(
        (tmp_path / "results.json").read_text(), "results.json"
    )
    text = markdown(document, "images/")
    assert f"| squares | 2 | 3.50 ± {ours.high - 3.5:.2f} | - |" in text
    assert "| Squares grow. | yes | up to 9 | yes |" in text


def test_cells_for_people() -> None:
    assert cell_text(None, 1) == "-"
    assert cell_text("as text", 1) == "as text"
    assert cell_text(88, 1) == "88"
    assert cell_text(88.0, 1) == "88.0"
    assert cell_text(2209.4, 1) == "2,209"
    assert cell_text(Estimate(1.25, 1, 1.0, 1.5, 9), 2) == "1.25 ± 0.25"
    assert table_csv(Table("t", "T", ("a",), (("x",), (2,)))) == "a\nx\n2\n"


@pytest.mark.parametrize(("settings", "message"), [({"seeds": 0}, "seeds"), ({"jobs": 0}, "jobs")])
def test_too_few_runs_or_processes_are_refused(
    install: Any, tmp_path: Path, settings: dict[str, int], message: str
) -> None:
    install(squares([]))
    with pytest.raises(InputError, match=f"{message}: found 0, expected 1 or more"):
        runner.reproduce("squares", tmp_path, **settings)


def test_a_file_in_the_way_of_the_folder_is_refused(install: Any, tmp_path: Path) -> None:
    install(squares([]))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="found a file, expected a folder"):
        runner.reproduce("squares", tmp_path / "file")
