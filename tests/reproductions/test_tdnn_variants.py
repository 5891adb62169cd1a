"""TDNN variants: published sizes, invariance to frequency shifts, and joined modules."""

from __future__ import annotations

import pytest
import torch

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.mixture.networks.time_delay import splice
from phoneme_moe_reproductions.tdnn_variants import (
    FrequencyShiftLayer,
    FrequencyShiftTDNN,
    ModularTDNN,
)


@pytest.mark.parametrize(("plies", "connections"), [(1, 5_357), (2, 6_947)])
def test_the_networks_have_the_published_connections(plies: int, connections: int) -> None:
    network = FrequencyShiftTDNN(2, 16, 15, 3, plies)
    assert network.num_connections == connections
    assert network(torch.randn(1, 5, 15, 16), None).shape == (2, 5, 1, 3)


def test_one_ply_has_thirty_distinct_first_layer_weights() -> None:
    layer = FrequencyShiftTDNN(1, 16, 15, 3, 1).hidden1
    # "Only about 30": three detectors of 3 x 3 and a bias each.
    assert sum(parameter.numel() for parameter in layer.parameters()) == 30


def test_detections_move_with_the_spectrum() -> None:
    layer = FrequencyShiftLayer(1, 16, 3, 3, ranges=((2, 9),), plies=2)
    frames = torch.randn(1, 4, 6, 16)
    shifted = torch.roll(frames, 1, dims=-1)
    places = 9 - 2 + 1
    outputs, moved = (
        layer(splice(f, 3, padding=False)).view(1, 4, 4, places, 2) for f in (frames, shifted)
    )
    torch.testing.assert_close(moved[..., 1:, :], outputs[..., :-1, :])


def test_a_detector_is_a_plain_product_over_its_frames_and_bands() -> None:
    layer = FrequencyShiftLayer(1, 16, 3, 3, ranges=((0, 3), (5, 8)), plies=1)
    frames = torch.randn(1, 1, 5, 16)
    outputs = layer(splice(frames, 3, padding=False))
    for number, band in enumerate((0, 1, 2, 3, 5, 6, 7, 8)):
        detector = layer.detectors[0 if band < 4 else 1]
        patch = frames[0, 0, 1:4, band : band + 3].reshape(-1)
        wanted = patch @ detector.weight[0, :, 0] + detector.bias[0, 0, 0]
        torch.testing.assert_close(outputs[0, 0, 1, number], wanted)


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
