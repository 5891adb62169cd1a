"""Weights in 16 and 8 bits: what is lost is bounded, and what is not is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save_file

from phoneme_moe.errors import InputError
from phoneme_moe.files.compact_weights import (
    MIN_ROW,
    SCALE,
    compact,
    restore,
    row_shape,
    stored_form,
)
from phoneme_moe.files.weight_files import read_weights

FILE = Path("model.safetensors")
SHAPES = hnp.array_shapes(min_dims=2, max_dims=4, max_side=20)
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
TINIEST = 2.0**-149  # the smallest number of 32 bits: scales are multiples of it


@given(SHAPES)
def test_rows_are_long_or_the_only_one(shape: tuple[int, ...]) -> None:
    rows, length = row_shape(shape)
    assert rows * length == np.prod(shape)
    assert length >= MIN_ROW or rows == 1


@given(hnp.arrays(np.float32, SHAPES, elements=FLOATS))
def test_no_weight_is_off_by_more_than_half_the_scale_of_its_row(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    stored = compact({"w": weight}, 8)
    assert stored["w"].dtype == torch.int8
    found = restore(stored, {"w": weight}, 8, FILE)["w"]
    assert found.dtype == torch.float32
    assert found.shape == weight.shape
    rows = row_shape(values.shape)
    off = np.abs(found.numpy().astype(float) - values.astype(float)).reshape(rows)
    largest = np.abs(values.astype(float)).reshape(rows).max(axis=1)
    bound = largest / 127 / 2 * (1 + 1e-5) + 127 * TINIEST
    assert (off.max(axis=1) <= bound).all()


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-6e4, 6e4, width=32)))
def test_sixteen_bits_keep_eleven_of_them(values: np.ndarray) -> None:
    weight = torch.from_numpy(values)
    stored = compact({"w": weight}, 16)
    assert stored["w"].dtype == torch.float16
    found = restore(stored, {"w": weight}, 16, FILE)["w"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), values, rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_what_is_few_or_counted_keeps_its_bits(bits: int) -> None:
    weights = {
        "bias": torch.randn(50),
        "steps": torch.tensor(70_001),
        "paths": torch.arange(12).reshape(3, 4),
    }
    stored = compact(weights, bits)
    assert stored == weights
    assert restore(stored, weights, bits, FILE) == weights


def test_a_weight_too_large_for_sixteen_bits_is_named() -> None:
    with pytest.raises(InputError, match=r"^w: found a weight of 7e\+04, expected at most 65504"):
        compact({"w": torch.full((2, 3), 7e4)}, 16)


@pytest.mark.parametrize("bits", [8, 16])
def test_files_have_the_form_that_is_read(tmp_path: Path, bits: int) -> None:
    weights = {"w": torch.randn(5, 40), "kernel": torch.randn(4, 3, 5), "bias": torch.randn(5)}
    stored = compact(weights, bits)
    form = stored_form(weights, bits)
    assert {n: w.shape for n, w in stored.items()} == {n: w.shape for n, w in form.items()}
    save_file(stored, tmp_path / "m")
    found = read_weights(tmp_path / "m", weights, bits)
    assert list(found) == list(weights)
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, atol=0.02, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("w.scale", torch.full((5,), torch.nan), "w.scale: found a number that is not finite"),
        ("w.scale", torch.full((5,), torch.inf), "w.scale: found a number that is not finite"),
        ("w.scale", torch.full((5,), -1.0), "w.scale: found -1, expected at least 0"),
        ("w.scale", torch.full((5,), 3e38), r"w.scale: found 3e\+38, with which weights are not"),
        ("w.scale", torch.ones(4), r"w.scale: found shape \(4,\), expected \(5,\)"),
        ("w.scale", torch.ones(5, 1), r"w.scale: found shape \(5, 1\), expected \(5,\)"),
        ("w.scale", None, r"w.scale: found shape None, expected \(5,\)"),
        ("w.scale", torch.ones(5, dtype=torch.int8), "w.scale: found torch.int8, expected"),
        ("w", torch.ones(5, 40), "w: found torch.float32, expected torch.int8"),
        ("w", torch.ones(5, 41, dtype=torch.int8), r"w: found shape \(5, 41\), expected"),
        ("bias.scale", torch.ones(1), r"bias.scale: found shape \(1,\), expected None"),
    ],
)
def test_hostile_files_are_refused(
    tmp_path: Path, name: str, value: torch.Tensor | None, words: str
) -> None:
    weights = {"w": torch.randn(5, 40), "bias": torch.randn(5)}
    stored = compact(weights, 8)
    assert "w" + SCALE in stored
    stored[name] = torch.empty(0) if value is None else value
    if value is None:
        del stored[name]
    else:
        stored["w"] = torch.full_like(stored["w"], 100) if name == "w.scale" else stored["w"]
    save_file(stored, tmp_path / "m")
    with pytest.raises(InputError, match=words) as refused:
        read_weights(tmp_path / "m", weights, 8)
    assert "\n" not in str(refused.value)
