from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.files.metrics_file import check_rows, read_rows, write_rows
from phoneme_moe.report.history import training_history

HEAD = b"stage,epoch,load/ann,load/bob\n"
NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9).map(float)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"stage": st.text(st.characters(categories=("L", "P", "Sm")), min_size=1, max_size=8)},
        optional=dict.fromkeys(("loss", "load/=ann", "a,b"), NUMBERS),
    ).flatmap(lambda row: st.integers(0, 10**6).map(lambda epoch: row | {"epoch": epoch})),
    min_size=1,
    max_size=4,
)


@given(rows=ROWS)
def test_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    file = tmp_path_factory.mktemp("rows") / "metrics.csv"
    write_rows(file, rows)
    assert read_rows(file) == rows
    assert check_rows(rows) == rows


def test_a_missing_file_has_no_rows_and_a_broken_link_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    assert read_rows(file) == []
    file.symlink_to(file)
    with pytest.raises(InputError, match=f"^{file}: cannot be read"):
        read_rows(file)


def test_a_training_that_diverged_has_rows(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    write_rows(file, [{"stage": "joint", "epoch": 0, "loss": math.nan}])
    (row,) = read_rows(file)
    assert math.isnan(row["loss"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00", "byte 2"),
        (b"epoch,loss\n1,2\n", "line 1: found no column stage"),
        (HEAD + b"joint,1\n", "line 2: found 2 cells, expected 4"),
        (HEAD + b"joint,1,0,1,2\n", "line 2: found 5 cells, expected 4"),
        (HEAD + b"joint,,0,1\n", "line 2: found no stage or epoch"),
        (HEAD + b"joint,-1,0,1\n", "line 2: epoch: found '-1', expected a number"),
        (HEAD + b"joint,1.5,0,1\n", "line 2: epoch: found '1.5', expected a number"),
        (HEAD + b"joint,0,1,0\njoint,1,much,1\n", "line 3: load/ann: found 'much', expected"),
        (HEAD + b"joint," + b"9" * 5_000 + b",0,1\n", "line 2: epoch: found '999"),
        (HEAD + b'joint,0,"' + b"9" * 200_000 + b'",1\n', "line 2: field larger than"),
        (HEAD + b"joint,0,nan,2\n", "load/bob: found 2.0, expected 0 to 1"),
        (HEAD + b"joint,0,-inf,1\n", "load/ann: found -inf, expected 0 to 1"),
        (HEAD + b"\n" * 20_000_000, "expected at most 20,000,000 bytes of CSV"),
    ],
)
def test_a_damaged_file_is_named_by_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        training_history(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {words}")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "rows", [3, {}, [3], [{}], [{"stage": 1, "epoch": 1}], [{"stage": "a", "epoch": 1, "x": "y"}]]
)
def test_what_are_no_rows_are_not_restored(rows: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        check_rows(rows)
