from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.time_delay import ExpertLinear

LENGTHS = torch.tensor([9, 4, 7])


def utterances(features: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(9) < LENGTHS[:, None]
    return torch.randn(3, 9, features) * mask[..., None], mask


def plain(network: FeedForward, expert: int) -> nn.Sequential:
    """The same net of one expert, of torch's own layers."""
    layers: list[nn.Module] = []
    for own in network.layers:
        assert isinstance(own, ExpertLinear)
        _, inputs, outputs = own.weight.shape
        layer = nn.Linear(inputs, outputs)
        with torch.no_grad():
            layer.weight.copy_(own.weight[expert].T)
            layer.bias.copy_(own.bias[expert, 0])
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4, 3)])
@pytest.mark.parametrize("expert", [0, 2])
def test_a_token_is_seen_as_a_whole(hidden: tuple[int, ...], expert: int) -> None:
    torch.manual_seed(0)
    network = FeedForward(3, 6, 4, hidden, token_frames=9)
    tokens, mask = utterances()
    found = network(tokens[None], mask[None])
    assert found.shape == (3, 3, 1, 4)
    expected = plain(network, expert)(tokens.flatten(1))
    torch.testing.assert_close(found[expert, :, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hidden", [(), (5, 4)])
def test_a_frame_is_seen_with_its_neighbours(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = FeedForward(2, 6, 4, hidden, kernel=3)
    frames, mask = utterances()
    found = network(frames[None], mask[None])
    assert found.shape == (2, 3, 9, 4)
    around = torch.cat([torch.zeros(3, 1, 6), frames, torch.zeros(3, 1, 6)], dim=1)
    seen = torch.stack([around[:, t : t + 3].flatten(1) for t in range(9)], dim=1)
    for expert in range(2):
        expected = plain(network, expert)(seen)
        torch.testing.assert_close(found[expert], expected, atol=1e-5, rtol=1e-5)


def test_padding_and_neighbours_change_no_real_frame() -> None:
    torch.manual_seed(0)
    network = FeedForward(2, 6, 4, (5,), kernel=5)
    frames, mask = utterances()
    together = network(frames[None], mask[None])
    for row, length in enumerate(LENGTHS.tolist()):
        own = network(frames[None, row : row + 1, :length], mask[None, row : row + 1, :length])
        torch.testing.assert_close(together[:, row, :length], own[:, 0], atol=1e-5, rtol=1e-5)
