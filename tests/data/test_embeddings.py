"""Vectors from outside: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from phoneme_moe.data.embeddings import Embeddings
from phoneme_moe.errors import InputError


def test_the_most_special_name_that_is_there_counts(tmp_path: Path) -> None:
    file = tmp_path / "e.safetensors"
    save_file({"ann": torch.tensor([1.0, 2.0]), "utt_7": torch.tensor([3.0, 4.0])}, file)
    embeddings = Embeddings(file, 2)
    assert embeddings.lookup(["utt_7", "ann"]).tolist() == [3, 4]
    assert embeddings.lookup(["utt_8", "ann"]).tolist() == [1, 2]
    with pytest.raises(
        InputError, match=r"no vector named 'utt_8' or 'anna' \(did you mean 'ann'\?\)"
    ):
        embeddings.lookup(["utt_8", "anna"])


def test_half_precision_comes_as_float32(tmp_path: Path) -> None:
    file = tmp_path / "e.safetensors"
    save_file({"ann": torch.ones(3, dtype=torch.float16)}, file)
    assert Embeddings(file, 3).lookup(["ann"]).dtype == torch.float32


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3), "ann: found shape 3, expected 2 numbers"),
        (torch.zeros(1, 2), "ann: found shape 1x2, expected 2 numbers"),
        (torch.tensor([1.0, float("nan")]), "ann: found a number that is not finite"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(
    tensor: torch.Tensor, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "e.safetensors"
    save_file({"ann": tensor}, file)
    with pytest.raises(InputError, match=words):
        Embeddings(file, 2)


def test_a_file_that_is_not_safetensors_is_never_unpickled(tmp_path: Path) -> None:
    file = tmp_path / "e.safetensors"
    torch.save({"ann": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="not readable as safetensors"):
        Embeddings(file, 2)
    with pytest.raises(InputError, match="cannot be read"):
        Embeddings(tmp_path / "missing.safetensors", 2)
