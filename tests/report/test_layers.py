from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from phoneme_moe.report.layers import LayerAccumulator


def one_hot(chosen: np.ndarray, experts: int) -> np.ndarray:
    return np.eye(experts, dtype=np.float32)[chosen]


def test_agreement_is_normalised_mutual_information() -> None:
    random = np.random.default_rng(3)
    first = random.integers(4, size=900)
    second = np.where(random.random(900) < 0.6, first, random.integers(6, size=900))
    accumulator = LayerAccumulator()
    for part in np.array_split(np.arange(900), 7):
        accumulator.add({"block_2": one_hot(first[part], 4), "block_10": one_hot(second[part], 6)})
    layers = accumulator.finish()
    assert layers is not None
    assert layers.names == ["block_2", "block_10"]
    assert layers.experts == [4, 6]
    expected = normalized_mutual_info_score(first, second)
    np.testing.assert_allclose(layers.agreement, [[1, expected], [expected, 1]], atol=1e-9)
    np.testing.assert_allclose(layers.load[0], np.bincount(first, minlength=4) / 900)
    assert layers.dead == [[], []]


def test_layers_that_follow_from_each_other_agree_wholly() -> None:
    first = np.arange(60) % 3
    accumulator = LayerAccumulator()
    accumulator.add({"a": one_hot(first, 3), "b": one_hot(2 - first, 5)})
    layers = accumulator.finish()
    assert layers is not None
    np.testing.assert_allclose(layers.agreement, 1)
    assert layers.dead == [[], [3, 4]]
    assert layers.effective == pytest.approx([3, 3])


def test_one_layer_has_nobody_to_agree_with() -> None:
    accumulator = LayerAccumulator()
    assert accumulator.finish() is None
    accumulator.add({"only": one_hot(np.zeros(3, dtype=int), 2)})
    assert accumulator.finish() is None
