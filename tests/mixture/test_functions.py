from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import phoneme_moe
from phoneme_moe.errors import InputError
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks import functions
from phoneme_moe.mixture.networks.functions import FunctionNetwork, fixed, registered, uniform

MASK = torch.arange(5) < torch.tensor([[5], [3]])


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    with monkeypatch.context() as patch:
        for role, known in functions._REGISTERED.items():
            patch.setitem(functions._REGISTERED, role, dict(known))
        yield


def features() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def test_what_is_registered_is_found_by_its_name_and_role() -> None:
    def loud(features: Tensor, mask: Tensor) -> Tensor:
        return features[..., :3]

    phoneme_moe.register_gate("loud", loud)
    assert registered("gate", "loud", "model.gate.function") is loud
    with pytest.raises(InputError) as caught:
        registered("expert", "loud", "model.expert.function")
    assert str(caught.value) == (
        "model.expert.function: found 'loud', which is not registered "
        "(phoneme_moe.register_expert) (known: uniform)"
    )
    phoneme_moe.register_gate("loud", uniform)
    assert registered("gate", "loud", "model.gate.function") is uniform


def test_what_cannot_be_called_is_no_function() -> None:
    with pytest.raises(InputError, match="register_expert 'x': found 3, expected a function"):
        phoneme_moe.register_expert("x", 3)


@pytest.mark.parametrize(("token", "decisions"), [(True, 1), (False, 5)])
def test_scores_are_spread_over_what_they_leave_open(token: bool, decisions: int) -> None:
    network = FunctionNetwork(uniform, 3, token=token)
    assert torch.equal(network(features()[None], MASK[None]), torch.zeros(1, 2, decisions, 3))


def test_a_function_sees_features_and_mask_and_its_scores_come_through() -> None:
    def louder(features: Tensor, mask: Tensor) -> Tensor:
        return features[..., :3] * mask[..., None]

    found = FunctionNetwork(louder, 3)(features()[None], MASK[None])
    assert torch.equal(found[0], louder(features(), MASK))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (torch.zeros(2, 5, 4), r"scores of shape (2, 5, 4), expected (2, 5, 3)"),
        (torch.zeros(3, 1, 3), r"scores of shape (3, 1, 3), expected (2, 5, 3)"),
        ([1, 2, 3], "scores of shape list, expected"),
        (torch.full((2, 5, 3), torch.nan), "found nan"),
    ],
)
def test_scores_of_another_shape_or_no_number_are_refused(result: Tensor, words: str) -> None:
    network = FunctionNetwork(lambda features, mask: result, 3, name="odd")
    with pytest.raises(InputError) as caught:
        network(features()[None], MASK[None])
    assert str(caught.value).startswith("function 'odd': ")
    assert words in str(caught.value)


def test_a_fixed_gate_gives_the_shares_of_its_weights_everywhere() -> None:
    gate = Gate(FunctionNetwork(fixed((3.0, 0.0, 1.0)), 3))
    weights = gate(features(), MASK).exp()
    torch.testing.assert_close(weights, torch.tensor([0.75, 0.0, 0.25]).expand(2, 5, 3))
