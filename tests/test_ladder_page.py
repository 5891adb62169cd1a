"""The paired comparison of two recipes, and the page made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ladder_figure import draw
from benchmarks.ladder_page import Change, collapse_section, compare, longest_section, section

LONGEST = ("learners", "learners_dense")


def run(errors: list[int], **more: Any) -> dict[str, Any]:
    return {
        "errors": errors,
        "lengths": [10] * len(errors),
        "per": sum(errors) / (10 * len(errors)),
        "errors_beam": errors,
        "per_beam": sum(errors) / (10 * len(errors)),
        "seconds": 600.0,
        "epochs": 3,
        "training_frames_per_second": 1000.0,
        "inference_frames_per_second": 5000.0,
        "total": 3_000_000,
        "active": 2_000_000,
        "multiply_adds": 1_900_000,
        "layers": [],
        "history": [],
        **more,
    }


def against(errors: list[int], baseline: list[int]) -> Change:
    change = compare({"dense/0": run(baseline), "switch/0": run(errors)}, "switch")
    assert change is not None
    return change


def test_the_same_errors_are_no_difference() -> None:
    assert against([3, 1, 4], [3, 1, 4]) == Change(0, 0, 0, 1, 1)


def test_fewer_errors_everywhere_are_certain_and_the_change_is_their_ratio() -> None:
    baseline = [4, 6, 8, 2] * 10
    change = against([e // 2 for e in baseline], baseline)
    assert change.whole == pytest.approx(-0.5)
    assert change.low == pytest.approx(-0.5)
    assert change.high == pytest.approx(-0.5)
    assert change.p <= 0.0002


def test_a_difference_within_chance_has_a_large_p_and_an_interval_around_nothing() -> None:
    generator = np.random.default_rng(1)
    one, other = (generator.integers(0, 9, 200).tolist() for _ in range(2))
    change = against(one, other)
    assert change.low < 0 < change.high
    assert change.p > 0.05
    assert change.low < change.whole < change.high


def test_seeds_that_both_have_are_averaged_utterance_by_utterance() -> None:
    figures = {
        "dense/0": run([90, 90]),
        "dense/1": run([3, 3], errors_beam=[2, 2]),
        "dense/2": run([3, 3], errors_beam=[2, 2]),
        "switch/1": run([2, 4], errors_beam=[2, 0]),
        "switch/2": run([4, 2], errors_beam=[0, 2]),
        "switch/3": run([90, 90]),
    }
    change = compare(figures, "switch", errors="errors")
    assert change is not None
    assert (change.whole, change.seeds) == (pytest.approx(0), 2)
    change = compare(figures, "switch")
    assert change is not None
    assert (change.whole, change.seeds) == (pytest.approx(-0.5), 2)
    assert change.interval == "-50.0 (-50.0 to -50.0)"  # both utterances have one error on average
    assert compare(figures, "soft") is None


def test_the_page_has_a_row_for_each_recipe_that_was_run() -> None:
    layer = {
        "layer": "block_2",
        "experts": 16,
        "variation": 0.5,
        "dead": 1,
        "speaker_bits": 0.25,
        "phoneme_bits": 1.5,
    }
    figures = {
        "dense/0": run([5, 5], per=0.5),
        "dense/1": run([7, 7], per=0.8),
        "switch/0": run([4, 4], per=0.45, layers=[layer]) | {"errors": [4, 5]},
    }
    text = section(figures, ("dense", "switch", "soft"))
    assert "| `dense` | 60.00 ± 14.14 (2 seeds) |  |  | 65.00 ± 21.21 (2 seeds) |" in text
    assert "| `switch` | 40.00 | -20.0 (-20.0 to -20.0) | 0.0001 | 45.00 | -10.0 (" in text
    assert "| `switch` | block_2 | 16 | 0.50 | 1 | 0.250 | 1.500 |" in text
    assert "soft" not in text
    del figures["switch/0"]["errors_beam"]  # of a run that was measured by an earlier version
    text = section(figures, ("dense", "switch"))
    assert "| `switch` | 40.00 | no errors by utterance |  | 45.00 | -10.0 (" in text
    assert section({}, ("dense",)) == ""


def test_the_longest_is_called_met_if_it_is_good_and_in_time() -> None:
    good = run([9, 9], errors_beam=[3, 3], per_beam=0.3, beam=256, shifts=4, seconds=7200.0)
    text = longest_section({"learners/0": good, "dense/0": run([1, 1])}, LONGEST)
    assert "| `learners` | 30.00 | 30.00 to 30.00 | 256 | 4 | 90.00 | 3 | 120 |" in text
    assert "30.00 % in 120, met." in text
    for worse in ({"per_beam": 0.35}, {"seconds": 7300.0}):
        text = longest_section({"learners/0": good | worse}, LONGEST)
        assert "**not met**" in text
    assert longest_section({}, LONGEST) == ""


def test_the_longest_sparse_one_is_compared_with_the_dense_one() -> None:
    few, many = [3, 4, 2, 3] * 20, [4, 5, 3, 4] * 20
    figures = {
        name: run([9] * 80, errors_beam=errors, per_beam=sum(errors) / 800, beam=256)
        for name, errors in (("learners/0", few), ("learners_dense/0", many))
    }
    text = longest_section(figures, LONGEST)
    assert "| `learners_dense` | 40.00 | " in text
    assert "| 256 | 1 | 90.00 |" in text  # a run without shifts
    assert "against `learners_dense`, with as many multiply-adds: -25.0 (" in text
    assert "p = 0.0001, 1 seed, met (target" in text


def test_collapse_is_shown_beside_its_cure() -> None:
    ill = [{"dev_error": 0.9, "variation": 3.0, "dead": 14.0}] * 3
    well = [{"dev_error": 0.8, "variation": 0.3, "dead": 0.0}] * 3
    figures = {"collapse/0": run([5], history=ill), "collapse_cured/0": run([4], history=well)}
    text = collapse_section(figures, ("collapse", "collapse_cured"))
    assert "| 1 | 3.00 | 14 | 90.0 | 0.30 | 0 | 80.0 |" in text
    assert collapse_section({}, ("collapse",)) == ""


def test_targets_are_called_met_or_not() -> None:
    few, many = [3, 4, 2, 3] * 20, [4, 5, 3, 4] * 20
    text = section({"dense/0": run(many), "switch/0": run(few)}, ("dense", "switch"))
    assert "`switch`, the best sparse one" in text
    assert "p = 0.0001, 1 seed, met" in text
    assert "`dense`, at most 42 %: 40.00 %, met; greedy 40.00 %, met." in text
    figures = {
        "dense/0": run(many, per=0.45),
        "dense/1": run(many) | {"errors": few},
        "switch/0": run(few),
        "switch/1": run(few),
    }
    text = section(figures, ("dense", "switch"))
    assert "2 seeds, met; greedy -14.3 (" in text
    assert "`dense`, at most 42 %: 40.00 %, met; greedy 42.50 %, **not met**." in text
    text = section({"dense/0": run(few), "switch/0": run(many)}, ("dense", "switch"))
    assert "+33.3 (" in text
    assert "**not met**" in text


def test_the_drawing_has_every_recipe(tmp_path: Path) -> None:
    history = [{"dev_error": error} for error in (0.9, 0.6, 0.5)]
    figures = {
        f"{name}/0": run(errors, history=history)
        for name, errors in (
            ("dense", [4, 5, 6]),
            ("switch", [3, 5, 6]),
            ("soft", [5, 5, 6]),
            ("deepseek", [4, 5, 5]),
        )
    }
    draw(figures, ("dense", "deepseek", "switch", "soft"), tmp_path)
    text = (tmp_path / "sparse_ladder.svg").read_text()
    for name in ("switch", "soft", "deepseek", "the others"):
        assert f">{name}<" in text
    draw({"dense/0": run([1])}, ("dense",), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
