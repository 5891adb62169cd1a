from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoneme_moe.errors import InputError
from phoneme_moe.report.history import training_history


def test_a_gate_has_its_load(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("stage,epoch,loss,load/ann,load/bob\nexperts,0,2,0.5,0.5\ngate,0,1,0.97,0.03\n")
    history = training_history(path)
    assert history is not None
    assert history.epochs == ["experts 1", "gate 1"]
    (layer,) = history.layers
    assert layer.layer == "gate"
    assert layer.experts == ["ann", "bob"]
    assert layer.load == [[0.5, 0.5], [0.97, 0.03]]
    assert layer.variation == pytest.approx([0, 0.94])
    assert layer.dead == [0, 1]  # below a tenth of an equal share
    assert layer.entropy is None


def test_sparse_layers_have_entropy_and_gaps_stay_gaps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "stage,epoch,load/encoder,b/entropy,b/load/0,b/load/1\n"
        f"joint,0,1,{np.log(2)},0.25,0.75\nother,0,1,,,\n"
    )
    history = training_history(path)
    assert history is not None
    (layer,) = history.layers  # one expert behind no gate is no routing
    assert layer.layer == "b"
    assert layer.load == [[0.25, 0.75], None]
    assert layer.entropy == [pytest.approx(2), None]
    assert layer.variation == [pytest.approx(0.5), None]
    assert layer.dead == [0, None]


def test_no_file_or_no_loads_is_no_history(tmp_path: Path) -> None:
    assert training_history(tmp_path / "metrics.csv") is None
    (tmp_path / "metrics.csv").write_text("stage,epoch,loss\njoint,0,1\n")
    assert training_history(tmp_path / "metrics.csv") is None


def test_another_table_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("load/a,load/b\n1,lots\n")
    with pytest.raises(InputError, match=r"metrics\.csv: line 1: found no column stage"):
        training_history(path)
