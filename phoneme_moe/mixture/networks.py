"""Time-delay neural networks, many of one shape side by side.

A TDNN layer joins each frame with its neighbours (``splice``) and maps what it then sees linearly.
Every network here holds ``num_experts`` independent copies whose maps are batched into one product;
a gate is such a network with one copy.

Legend: E experts, S utterances (slots) of each, T frames, C channels, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def splice(frames: Tensor, window: int, dilation: int = 1, padding: bool = True) -> Tensor:
    """Joins each frame with its neighbours.

    Args:
        frames: Shape (..., frames, channels).
        window: Frames to join.
        dilation: Step between them.
        padding: Keep the number of frames by zeros beyond the ends; else only whole windows.

    Returns:
        Shape (..., frames, window * channels), earliest neighbour first.
    """
    reach = dilation * (window - 1)
    if padding:
        frames = functional.pad(frames, (0, 0, reach // 2, reach - reach // 2))
    num_frames = frames.shape[-2] - reach
    neighbours = [frames.narrow(-2, i * dilation, num_frames) for i in range(window)]
    return torch.cat(neighbours, dim=-1)


class ExpertLinear(nn.Module):
    """A linear map for each expert, all in one batched product."""

    def __init__(self, num_experts: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        bound = num_inputs**-0.5
        self.weight = nn.Parameter(
            torch.empty(num_experts, num_inputs, num_outputs).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(num_experts, 1, num_outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps what each expert is given.

        Args:
            inputs: Shape (experts, slots, frames, inputs); or (1, slots, frames, inputs) when all
                experts see the same.

        Returns:
            Shape (experts, slots, frames, outputs).
        """
        experts, slots, frames, channels = inputs.shape
        num_experts, _, num_outputs = self.weight.shape
        flat = inputs.reshape(experts, slots * frames, channels)
        if experts != num_experts:
            # One product over all experts' columns: the shared input is read once, not copied.
            columns = self.weight.transpose(0, 1).reshape(channels, num_experts * num_outputs)
            mapped = (flat[0] @ columns).reshape(slots * frames, num_experts, num_outputs)
            outputs = mapped.transpose(0, 1) + self.bias
        else:
            outputs = torch.baddbmm(self.bias, flat, self.weight)
        return outputs.reshape(num_experts, slots, frames, num_outputs)


class TokenTDNN(nn.Module):
    """The 1989 network: a token of a fixed number of frames to one distribution over classes.

    Two layers of sigmoid units look at ``windows`` frames each; the second has one row of units for
    each class, which its output sums over time (Waibel et al. 1989; sizes verified by the published
    count of connections). Scores go through a softmax, where the original has a sigmoid for each
    class: the mixture needs a distribution.

    The second hidden layer may have more rows than there are classes only in a gate (the original's
    gate sizes are unknown); then every class sums over all rows.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        num_frames: int,
        num_outputs: int,
        hidden: tuple[int, int] = (8, 3),
        windows: tuple[int, int] = (3, 5),
    ) -> None:
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Features of a frame.
            num_frames: Frames of a token.
            num_outputs: Classes.
            hidden: Units of the two hidden layers.
            windows: Frames that each of them looks at.
        """
        super().__init__()
        self.windows = windows
        self.num_positions = (
            num_frames - windows[0] + 1,
            num_frames - windows[0] - windows[1] + 2,
        )
        if self.num_positions[1] < 1:
            raise ValueError(f"{num_frames} frames are too few for windows {windows}")
        self.hidden1 = ExpertLinear(num_experts, num_features * windows[0], hidden[0])
        self.hidden2 = ExpertLinear(num_experts, hidden[0] * windows[1], hidden[1])
        self.row_per_class = hidden[1] == num_outputs
        if self.row_per_class:
            # One weight, shared by all positions, from a class's own row of units.
            self.output_weight = nn.Parameter(torch.ones(num_experts, 1, num_outputs))
            self.output_bias = nn.Parameter(torch.zeros(num_experts, 1, num_outputs))
        else:
            self.output = ExpertLinear(num_experts, hidden[1], num_outputs)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            frames: Shape (experts or 1, slots, frames, features).
            mask: Unused: a token has no padding. Shape (experts or 1, slots, frames).

        Returns:
            Scores before the softmax, shape (experts, slots, 1, outputs).
        """
        first = torch.sigmoid(self.hidden1(splice(frames, self.windows[0], padding=False)))
        second = torch.sigmoid(self.hidden2(splice(first, self.windows[1], padding=False)))
        summed = second.sum(dim=2)  # (E, S, rows)
        if self.row_per_class:
            scores = torch.addcmul(self.output_bias, summed, self.output_weight)
        else:
            scores = self.output(summed[:, :, None])[:, :, 0]
        return scores[:, :, None]

    @property
    def num_weights(self) -> int:
        """Free weights of one copy: 521 for the published sizes."""
        return sum(p[0].numel() for p in self.parameters())

    @property
    def num_connections(self) -> int:
        """Connections of one copy, counted as published: 6,233 for the published sizes.

        Every unit at every position has its inputs and a bias of its own; an output has one
        connection to each position of its row, and a bias.
        """
        inputs1, units1 = self.hidden1.weight.shape[1:]
        inputs2, units2 = self.hidden2.weight.shape[1:]
        first, second = self.num_positions
        if self.row_per_class:
            output = units2 * (second + 1)
        else:
            output = self.output.weight.shape[2] * (units2 * second + 1)
        return first * units1 * (inputs1 + 1) + second * units2 * (inputs2 + 1) + output


class StackTDNN(nn.Module):
    """A stack of residual TDNN layers over a whole utterance: a distribution for every frame.

    Layer normalisation acts within a frame, so that neither padding nor the rest of the batch can
    change an answer; every layer masks its input, so that padding looks like the recording's end.
    """

    def __init__(
        self,
        num_experts: int,
        num_features: int,
        num_outputs: int,
        width: int = 64,
        dilations: Sequence[int] = (1, 2, 3),
        kernel: int = 3,
        dropout: float = 0.0,
        bottleneck: int | None = None,
    ) -> None:
        """Plain sizes.

        Args:
            num_experts: Independent copies.
            num_features: Features of a frame.
            num_outputs: Outputs of a frame.
            width: Channels of every layer.
            dilations: One layer for each; the step between the frames it looks at.
            kernel: Frames that a layer looks at; odd.
            dropout: Share of an utterance's channels silenced in training, layer by layer.
            bottleneck: Channels through which a layer sees the one before it, as in a factored
                TDNN (Povey et al. 2018, without keeping a factor orthogonal); all when None.
        """
        super().__init__()
        self.kernel = kernel
        self.dilations = tuple(dilations)
        self.dropout = dropout
        self.input = ExpertLinear(num_experts, num_features * kernel, width)
        self.narrow = nn.ModuleList(
            ExpertLinear(num_experts, width, bottleneck) if bottleneck else nn.Identity()
            for _ in self.dilations
        )
        self.layers = nn.ModuleList(
            ExpertLinear(num_experts, (bottleneck or width) * kernel, width) for _ in self.dilations
        )
        self.output = ExpertLinear(num_experts, width, num_outputs)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of the outputs in every frame.

        Args:
            frames: Shape (experts or 1, slots, frames, features); zero where masked.
            mask: Real frames, shape (experts or 1, slots, frames).

        Returns:
            Scores before the softmax, shape (experts, slots, frames, outputs).
        """
        real = mask[..., None]  # (E, S, T, 1)
        hidden = functional.relu(self.input(splice(frames, self.kernel)))
        for narrow, layer, dilation in zip(self.narrow, self.layers, self.dilations, strict=True):
            # Narrowed before neighbours are joined: the copying shrinks with the channels.
            seen = narrow(functional.layer_norm(hidden, hidden.shape[-1:])) * real
            change = functional.relu(layer(splice(seen, self.kernel, dilation)))
            if self.training and self.dropout:
                # One draw for a channel's whole utterance: as good here, and cheap to draw.
                keep = torch.empty_like(change[:, :, :1]).bernoulli_(1 - self.dropout)
                change = change * (keep / (1 - self.dropout))
            hidden = hidden + change
        scores: Tensor = self.output(functional.layer_norm(hidden, hidden.shape[-1:]))
        return scores


class Experts(nn.Module):
    """Networks of one shape that each give a distribution over the outputs."""

    def __init__(self, network: TokenTDNN | StackTDNN, num_experts: int) -> None:
        super().__init__()
        self.network = network
        self.num_experts = num_experts

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """What every expert says of every utterance.

        Args:
            features: Shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).

        Returns:
            Log posteriors in float32, shape (batch, frames, experts, outputs); one frame for a
            token.
        """
        scores = self.network(features[None], mask[None])  # (E, B, T, P)
        return functional.log_softmax(scores.float(), dim=-1).permute(1, 2, 0, 3)


class Gate(nn.Module):
    """A network that looks at the same features and says which experts to ask."""

    def __init__(self, network: TokenTDNN | StackTDNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Log probabilities of the experts in float32, shape (batch, frames, experts).

        Args:
            features: Shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).
        """
        scores = self.network(features[None], mask[None])[0]
        return functional.log_softmax(scores.float(), dim=-1)
