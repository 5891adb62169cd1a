"""Nets taken out of many, and nets joined into one."""

from __future__ import annotations

import pytest
import torch

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.reproductions.tdnn_variants import ModularTDNN


def test_what_is_taken_answers_as_it_did_among_the_others() -> None:
    network = TokenTDNN(4, 16, 15, 3)
    frames = torch.randn(1, 6, 15, 16)
    taken = take(network, [2, 0, 2])
    torch.testing.assert_close(taken(frames, None), network(frames, None)[[2, 0, 2]])
    # A copy: training it leaves the source alone.
    with torch.no_grad():
        for parameter in taken.parameters():
            parameter.zero_()
    assert network.hidden1.weight.abs().sum() > 0


def test_joined_nets_begin_with_the_mean_of_their_scores() -> None:
    network = TokenTDNN(3, 16, 15, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    frames = torch.randn(1, 6, 15, 16)
    wanted = network(frames, None).mean(dim=0)[:, 0]
    torch.testing.assert_close(ModularTDNN(network)(frames, None), wanted)


def test_only_the_higher_layers_of_joined_nets_learn() -> None:
    joined = ModularTDNN(TokenTDNN(3, 16, 15, 3))
    joined(torch.randn(1, 6, 15, 16), None).square().sum().backward()
    learns = {id(p) for p in joined.higher_layers()}
    for name, parameter in joined.named_parameters():
        if id(parameter) in learns:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        elif "hidden1" in name:
            assert parameter.grad is None, name


@pytest.mark.parametrize(("speakers", "connections"), [(3, 18_693), (6, 37_383)])
def test_joined_nets_have_about_the_published_connections(speakers: int, connections: int) -> None:
    # Published, rounded: 18,650 and 37,400. Every class sees 9 positions in each module.
    joined = ModularTDNN(TokenTDNN(speakers, 16, 15, 3))
    assert joined.num_connections == connections
    assert connections == pytest.approx({3: 18_650, 6: 37_400}[speakers], rel=0.003)


def test_nets_without_a_row_for_each_class_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="row"):
        ModularTDNN(TokenTDNN(2, 16, 15, 6, hidden=(12, 4)))
