from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phoneme_moe.report.page.training_sentence import training_sentence


def history(load: list[list[float] | None], **more: Any) -> dict[str, Any]:
    known = [row for row in load if row is not None]
    dead = [None if row is None else sum(v < 0.1 / len(row) for v in row) for row in load]
    names = [f"e{i}" for i in range(len(known[0]))]
    return {"layer": "gate", "experts": names, "load": load, "dead": dead, "entropy": None} | more


def sentence(*layers: dict[str, Any]) -> str:
    return training_sentence(range(len(layers[0]["load"])), layers, "frame")


def test_a_load_that_falls_and_comes_back_has_changed() -> None:
    steady = 0.17
    load = [None, *([v, (1 - v) / 2, (1 - v) / 2] for v in (steady, 0.005, 0.027, steady))]
    assert sentence(history(load)) == (
        "Over 5 epochs, of which 4 recorded routing, the load of expert e0 varied most, between "
        "0.5 % and 17.0 % (17.0 % at the end); no expert was dead at the end, but before, "
        "up to 1 was (in 2 epochs)."
    )


@given(arrays(float, st.tuples(st.integers(1, 9), st.integers(2, 5)), elements=st.floats(0.01, 1)))
def test_the_sentence_is_about_all_epochs(load: np.ndarray) -> None:
    load = load / load.sum(axis=1, keepdims=True)
    text = sentence(history(load.tolist()))
    span = np.ptp(load, axis=0).max()
    assert ("no expert's load ever varied by more than 2 points" in text) == (span < 0.02)


def test_the_number_of_experts_beyond_both_ends_is_told() -> None:
    load = [[0.5, 0.5]] * 3
    text = sentence(history(load, entropy=[2.0, 1.1, 1.8]))
    assert "within a frame fell from 2.0 to 1.8 (lowest 1.1); no expert's load ever" in text
    text = sentence(history(load, entropy=[1.0, 1.5, 2.0]))
    assert "within a frame rose from 1.0 to 2.0; " in text
    text = sentence(history(load, entropy=[1.5, 1.9, 1.5]))
    assert "within a frame stayed at 1.50 (highest 1.9); " in text


def test_of_several_layers_the_one_is_named() -> None:
    still, moving = [[0.5, 0.5]] * 2, [[0.5, 0.5], [0.9, 0.1]]
    layers = [history(still, layer="block_1"), history(moving, layer="block_2")]
    assert "the load of expert e0 in block_2 varied most, between 50.0 % and" in sentence(*layers)


def test_nothing_recorded() -> None:
    layer = {"layer": "gate", "experts": [], "load": [None], "dead": [None], "entropy": None}
    assert training_sentence(["a 1"], [layer], "frame") == "Over 1 epoch the run recorded no load."
