"""The published sizes, and what a detector does not mind."""

from __future__ import annotations

import pytest
import torch

from phoneme_moe.mixture.networks.time_delay import splice
from phoneme_moe.reproductions.tdnn_variants import FrequencyShiftLayer, FrequencyShiftTDNN


@pytest.mark.parametrize(("plies", "connections"), [(1, 5_357), (2, 6_947)])
def test_the_networks_have_the_published_connections(plies: int, connections: int) -> None:
    network = FrequencyShiftTDNN(2, 16, 15, 3, plies)
    assert network.num_connections == connections
    assert network(torch.randn(1, 5, 15, 16), None).shape == (2, 5, 1, 3)


def test_one_ply_has_thirty_distinct_first_layer_weights() -> None:
    layer = FrequencyShiftTDNN(1, 16, 15, 3, 1).hidden1
    # "Only about 30": three detectors of 3 x 3 and a bias each.
    assert sum(parameter.numel() for parameter in layer.parameters()) == 30


def test_what_a_detector_finds_moves_with_the_spectrum() -> None:
    layer = FrequencyShiftLayer(1, 16, 3, 3, ranges=((2, 9),), plies=2)
    frames = torch.randn(1, 4, 6, 16)
    shifted = torch.roll(frames, 1, dims=-1)
    places = 9 - 2 + 1
    found, moved = (
        layer(splice(f, 3, padding=False)).view(1, 4, 4, places, 2) for f in (frames, shifted)
    )
    torch.testing.assert_close(moved[..., 1:, :], found[..., :-1, :])


def test_a_detector_is_a_plain_product_over_its_frames_and_bands() -> None:
    layer = FrequencyShiftLayer(1, 16, 3, 3, ranges=((0, 3), (5, 8)), plies=1)
    frames = torch.randn(1, 1, 5, 16)
    found = layer(splice(frames, 3, padding=False))
    for number, band in enumerate((0, 1, 2, 3, 5, 6, 7, 8)):
        detector = layer.detectors[0 if band < 4 else 1]
        patch = frames[0, 0, 1:4, band : band + 3].reshape(-1)
        wanted = patch @ detector.weight[0, :, 0] + detector.bias[0, 0, 0]
        torch.testing.assert_close(found[0, 0, 1, number], wanted)
