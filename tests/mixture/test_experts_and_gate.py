from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork, uniform
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.mixture.networks.time_delay import ExpertLinear, splice
from phoneme_moe_reproductions.tdnn_variants import FrequencyShiftTDNN

LENGTHS = torch.tensor([9, 4, 7])


def token_net(num_experts: int = 1, rows: int = 3) -> TokenTDNN:
    torch.manual_seed(0)
    network = TokenTDNN(num_experts, 16, 15, 3, hidden=(8, rows))
    with torch.no_grad():
        # The fresh output weights are all ones; others show more.
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def stack_net(num_experts: int = 1, outputs: int = 5, bottleneck: int | None = None) -> StackTDNN:
    torch.manual_seed(0)
    return StackTDNN(
        num_experts, 6, outputs, width=12, dilations=(1, 2), kernel=3, bottleneck=bottleneck
    ).eval()


def utterances(features: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(int(LENGTHS.max())) < LENGTHS[:, None]
    return torch.randn(len(LENGTHS), int(LENGTHS.max()), features) * mask[..., None], mask


def alone(network: nn.Module, single: nn.Module, expert: int) -> nn.Module:
    """The one-copy network with the weights of one of the copies."""
    state = {name: w[expert : expert + 1] for name, w in network.state_dict().items()}
    single.load_state_dict(state)
    return single


def test_the_1989_network_has_the_published_size() -> None:
    network = TokenTDNN(num_experts=1, num_features=16, num_frames=15, num_outputs=3)
    assert network.num_connections == 6_233
    assert network.num_weights == 521
    assert TokenTDNN(6, 16, 15, 3).num_weights == 521


def test_the_connections_of_the_1989_network_are_those_that_a_count_by_hand_gives() -> None:
    first = 13 * 8 * (3 * 16 + 1)
    second = 9 * 3 * (5 * 8 + 1)
    output = 3 * (9 + 1)
    assert first + second + output == 6_233


def plain_tdnn_1989(network: TokenTDNN, token: Tensor) -> list[float]:
    """The network of Waibel et al. 1989, unit by unit."""
    network.requires_grad_(False)
    w1, b1 = network.hidden1.weight[0], network.hidden1.bias[0, 0]
    w2, b2 = network.hidden2.weight[0], network.hidden2.bias[0, 0]

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def layer(frames: list[list[float]], window: int, weight: Tensor, bias: Tensor) -> list:
        return [
            [
                sigmoid(
                    float(bias[unit])
                    + sum(
                        frames[start + delay][i] * float(weight[delay * len(frames[0]) + i, unit])
                        for delay in range(window)
                        for i in range(len(frames[0]))
                    )
                )
                for unit in range(weight.shape[1])
            ]
            for start in range(len(frames) - window + 1)
        ]

    second = layer(layer(token.tolist(), 3, w1, b1), 5, w2, b2)
    summed = [sum(frame[row] for frame in second) for row in range(w2.shape[1])]
    if network.row_per_class:
        weight, bias = network.output_weight[0, 0], network.output_bias[0, 0]
        return [float(weight[c]) * summed[c] + float(bias[c]) for c in range(3)]
    weight, bias = network.output.weight[0], network.output.bias[0, 0]
    return [
        float(bias[c]) + sum(summed[r] * float(weight[r, c]) for r in range(len(summed)))
        for c in range(3)
    ]


@pytest.mark.parametrize("rows", [3, 6])
def test_the_1989_network_equals_a_plain_loop(rows: int) -> None:
    network = token_net(rows=rows)
    tokens = torch.randn(2, 15, 16)
    found = network(tokens[None], torch.ones(1, 2, 15, dtype=torch.bool))
    assert found.shape == (1, 2, 1, 3)
    expected = torch.tensor([plain_tdnn_1989(network, token) for token in tokens])
    torch.testing.assert_close(found[0, :, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_token_too_short_for_the_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="6 frames are too few"):
        TokenTDNN(1, 16, 6, 3)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("padding", [True, False])
def test_splicing_is_what_a_convolution_sees(dilation: int, padding: bool) -> None:
    frames = torch.randn(2, 11, 4)
    weight = torch.randn(7, 4, 3)
    found = splice(frames, 3, dilation, padding) @ weight.permute(2, 1, 0).reshape(12, 7)
    expected = nn.functional.conv1d(
        frames.transpose(1, 2), weight, padding=dilation if padding else 0, dilation=dilation
    ).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_each_expert_has_a_separate_linear_map() -> None:
    layer = ExpertLinear(3, 4, 5)
    inputs = torch.randn(3, 2, 6, 4)
    expected = torch.stack([inputs[e] @ layer.weight[e] + layer.bias[e] for e in range(3)])
    torch.testing.assert_close(layer(inputs), expected, atol=1e-6, rtol=1e-5)


def test_an_input_that_all_experts_share_equals_the_input_repeated() -> None:
    layer = ExpertLinear(3, 4, 5)
    shared = torch.randn(1, 2, 6, 4)
    torch.testing.assert_close(
        layer(shared), layer(shared.expand(3, -1, -1, -1)), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("bottleneck", [None, 4])
@pytest.mark.parametrize("expert", [0, 2])
def test_experts_side_by_side_are_the_experts_alone(expert: int, bottleneck: int | None) -> None:
    features, mask = utterances()
    network = stack_net(3, bottleneck=bottleneck)
    together = network(features[None], mask[None])[expert]
    fresh = stack_net(1, bottleneck=bottleneck)
    single = alone(network, fresh, expert)(features[None], mask[None])[0]
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-5)
    tokens = torch.randn(1, 4, 15, 16)
    token_mask = torch.ones(1, 4, 15, dtype=torch.bool)
    together = token_net(3)(tokens, token_mask)[expert]
    single = alone(token_net(3), token_net(1), expert)(tokens, token_mask)[0]
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bottleneck", [None, 4])
def test_a_stack_equals_a_plain_residual_stack_of_convolutions(bottleneck: int | None) -> None:
    features, _ = utterances()
    mask = torch.ones(features.shape[:2], dtype=torch.bool)
    network = stack_net(bottleneck=bottleneck)

    def convolve(layer: ExpertLinear, frames: Tensor, dilation: int) -> Tensor:
        kernel = layer.weight[0].reshape(3, frames.shape[2], -1).permute(2, 1, 0)
        return nn.functional.conv1d(
            frames.transpose(1, 2), kernel, layer.bias[0, 0], padding=dilation, dilation=dilation
        ).transpose(1, 2)

    def normal(frames: Tensor) -> Tensor:
        centred = frames - frames.mean(dim=-1, keepdim=True)
        return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()

    hidden = convolve(network.input, features, 1).relu()
    for narrow, layer, dilation in zip(network.narrow, network.layers, (1, 2), strict=True):
        seen = normal(hidden)
        if bottleneck:
            seen = seen @ narrow.weight[0] + narrow.bias[0]
            assert seen.shape[-1] == bottleneck
        hidden = hidden + convolve(layer, seen, dilation).relu()
    expected = normal(hidden) @ network.output.weight[0] + network.output.bias[0]
    torch.testing.assert_close(
        network(features[None], mask[None])[0], expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("bottleneck", [None, 4])
@pytest.mark.parametrize("extra", [1, 7])
def test_padding_and_neighbours_change_no_real_frame(extra: int, bottleneck: int | None) -> None:
    features, mask = utterances()
    network = stack_net(2, bottleneck=bottleneck)
    padded = network(
        nn.functional.pad(features, (0, 0, 0, extra))[None],
        nn.functional.pad(mask, (0, extra))[None],
    )
    for row, length in enumerate(LENGTHS.tolist()):
        own = network(features[None, row : row + 1, :length], mask[None, row : row + 1, :length])
        torch.testing.assert_close(padded[:, row, :length], own[:, 0], atol=1e-5, rtol=1e-5)


def test_posteriors_of_experts_and_gate_sum_to_one() -> None:
    features, mask = utterances()
    posteriors = Experts(stack_net(3))(features, mask)
    assert posteriors.shape == (3, 9, 3, 5)
    assert posteriors.dtype == torch.float32
    torch.testing.assert_close(posteriors.exp().sum(-1), torch.ones(3, 9, 3), atol=1e-5, rtol=0)
    gate = Gate(stack_net(1, outputs=3))(features, mask)
    torch.testing.assert_close(gate.exp().sum(-1), torch.ones(3, 9), atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [1, 4])
def test_a_network_knows_its_number_of_experts(number: int) -> None:
    features, mask = torch.randn(2, 15, 16), torch.ones(2, 15, dtype=torch.bool)
    function = FunctionNetwork(uniform, 3, token=True)
    for network in (
        FeedForward(number, 16, 3, token_frames=15),
        TokenTDNN(number, 16, 15, 3),
        FrequencyShiftTDNN(number, 16, 15, 3),
        take(TokenTDNN(2, 16, 15, 3), [0] * number),
    ):
        experts = Experts(network, functions=[function])
        assert (experts.num_networks, experts.num_experts) == (number, number + 1)
        assert experts(features, mask).shape == (2, 1, number + 1, 3)
    assert Experts(StackTDNN(number, 16, 3)).num_experts == number
    assert Experts(function).num_experts == 1


def test_a_number_of_experts_that_is_not_the_networks_is_refused() -> None:
    assert Experts(FeedForward(4, 6, 5), 4).num_experts == 4
    with pytest.raises(ValueError, match="num_networks: found 3, but the FeedForward has 4"):
        Experts(FeedForward(4, 6, 5), 3)

    class Foreign(nn.Module):
        """A network of somebody else's."""

    assert Experts(Foreign(), 3).num_experts == 3
    with pytest.raises(
        ValueError, match="num_networks: found none, and Foreign has no num_experts"
    ):
        Experts(Foreign())


def test_dropout_silences_channels_in_training_only_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    network = StackTDNN(1, 6, 5, width=12, dilations=(1,), dropout=0.5)
    features, mask = utterances()
    quiet = network.eval()(features[None], mask[None])
    assert torch.equal(network(features[None], mask[None]), quiet)
    network.train()
    draws = torch.stack([network(features[None], mask[None]) for _ in range(30)])
    assert draws.std(dim=0).max() > 0.01
    assert not torch.equal(draws[0], draws[1])


def test_permuting_experts_with_their_gate_rows_changes_nothing() -> None:
    from phoneme_moe.mixture.combination import blend_experts
    from phoneme_moe.mixture.routing import dense_routing

    features, mask = utterances()
    experts, gate = Experts(stack_net(3)), Gate(stack_net(1, outputs=3))

    def mixture() -> Tensor:
        return blend_experts(dense_routing(gate(features, mask), mask), experts(features, mask))

    before = mixture()
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.copy_(parameter[order].clone())
        gate.network.output.weight.copy_(gate.network.output.weight[..., order].clone())
        gate.network.output.bias.copy_(gate.network.output.bias[..., order].clone())
    torch.testing.assert_close(mixture(), before, atol=1e-5, rtol=1e-5)
