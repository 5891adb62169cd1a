from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.mixture.networks.speaker_dispatch import Dispatch


@given(data=st.data(), num_experts=st.integers(1, 5))
@settings(max_examples=60)
def test_unpacking_undoes_packing(data: st.DataObject, num_experts: int) -> None:
    expert = data.draw(st.lists(st.integers(0, num_experts - 1), min_size=1, max_size=12))
    dispatch = Dispatch.to_experts(torch.tensor(expert), num_experts)
    values = torch.randn(len(expert), 3, 2)
    packed = dispatch.pack(values)
    assert torch.equal(dispatch.unpack(packed), values)
    assert packed.shape == (num_experts, max(expert.count(e) for e in expert), 3, 2)
    for index in range(num_experts):
        own = values[torch.tensor(expert) == index]
        # In the batch's order, then zeros.
        assert torch.equal(packed[index, : len(own)], own)
        assert not packed[index, len(own) :].any()


def test_masks_are_packed_as_masks_with_empty_slots_false() -> None:
    dispatch = Dispatch.to_experts(torch.tensor([1, 1, 0]), 2)
    packed = dispatch.pack(torch.ones(3, 4, dtype=torch.bool))
    assert packed.dtype == torch.bool
    assert packed.all(dim=2).tolist() == [[True, False], [True, True]]


def test_a_balanced_batch_leaves_no_slot_empty() -> None:
    dispatch = Dispatch.to_experts(torch.tensor([2, 0, 1, 1, 2, 0]), 3)
    assert dispatch.num_slots == 2
    assert (dispatch.pack(torch.ones(6)) == 1).all()


def test_gradients_go_back_where_the_values_came_from() -> None:
    values = torch.randn(5, 3, requires_grad=True)
    dispatch = Dispatch.to_experts(torch.tensor([0, 2, 2, 0, 2]), 4)
    scale = torch.arange(1.0, 5.0)[:, None, None]
    dispatch.unpack(dispatch.pack(values) * scale).sum().backward()
    expected = torch.tensor([1.0, 3, 3, 1, 3])[:, None].expand(5, 3)
    assert torch.equal(values.grad, expected)
