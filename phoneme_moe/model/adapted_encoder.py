"""A pretrained encoder with experts that are adapters, chosen once per utterance.

Each expert is a set of low-rank adapters in layers of the frozen encoder. A gate weights them
by the mean of the first hidden state, which no adapter has changed yet; or the speaker is known, as
in the stage that trains the experts (Hampshire & Waibel 1989: experts by speaker, then the gate
through the phoneme error).

Legend: B batch, T frames of 20 ms, I inputs of a frame, E experts, L hidden states, H hidden size.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.features.encoder_folder import open_encoder_folder
from phoneme_moe.features.encoder_windows import CONTEXT_SECONDS, WINDOW_SECONDS
from phoneme_moe.features.pretrained import HiddenStates
from phoneme_moe.mixture.networks.low_rank import (
    AdaptedLinear,
    LowRankExperts,
    MatrixExperts,
    Selection,
)
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.routing import Routing, all_real

FRAMES_PER_SECOND = 50

TARGETS = {
    "whisper": ("self_attn.q_proj", "self_attn.v_proj", "fc1", "fc2"),
    "wav2vec2": (
        "attention.q_proj",
        "attention.v_proj",
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
    ),
    # Its attention reads the weights of its maps instead of calling them.
    "wavlm": ("feed_forward.intermediate_dense", "feed_forward.output_dense"),
    "wav2vec2-bert": (
        "self_attn.linear_q",
        "self_attn.linear_v",
        "ffn2.intermediate_dense",
        "ffn2.output_dense",
    ),
}
TARGETS["hubert"] = TARGETS["wav2vec2"]
"""The linear maps of a layer that have adapters, by family."""


class AdaptedEncoder(nn.Module):
    """Hidden states of a frozen encoder with adapters; the adapters and the gate are its weights.

    The encoder itself is loaded when it is first needed and is no part of the state.
    """

    def __init__(
        self,
        model: str,
        sha256: str | None,
        family: str,
        layers: str | int,
        num_layers: int,
        hidden: int,
        feed_forward: int,
        num_experts: int,
        rank: int | Literal["full"],
        adapted_layers: int | None = None,
    ) -> None:
        """Creates adapters that change nothing yet, and a gate with equal weights.

        Args:
            model: Folder or name of the encoder.
            sha256: Hash of its weights.
            family: Its ``model_type``.
            layers: Hidden states that are returned: ``mix`` for all, ``last``, or a number.
            num_layers: Number of layers.
            hidden: Size of a hidden state.
            feed_forward: Size of the inner layer of its feed-forward parts.
            num_experts: Number of experts.
            rank: Rank of the adapters; ``full`` for whole matrices.
            adapted_layers: Number of layers with adapters, the last ones; all by default.
        """
        super().__init__()
        self.model, self.sha256, self.family, self.layers = model, sha256, family, layers
        self.num_experts = num_experts
        self.selection = Selection()
        sizes = {
            "intermediate_dense": (hidden, feed_forward),
            "output_dense": (feed_forward, hidden),
            "fc1": (hidden, feed_forward),
            "fc2": (feed_forward, hidden),
        }
        self.adapters = nn.ModuleDict()
        for layer in range(num_layers - (adapted_layers or num_layers), num_layers):
            for target in TARGETS[family]:
                size = sizes.get(target.rpartition(".")[2], (hidden, hidden))
                name = f"{layer}_{target.replace('.', '_')}"
                self.adapters[name] = (
                    MatrixExperts(num_experts, *size)
                    if rank == "full"
                    else LowRankExperts(num_experts, *size, rank)
                )
        self.gate: nn.Linear | None = None
        if num_experts > 1:
            self.gate = nn.Linear(hidden, num_experts)
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)
        self._loaded: list[HiddenStates] = []
        self._given: Tensor | None = None
        self._override: RoutingOverride | None = None

    @property
    def hidden_states(self) -> HiddenStates:
        """The encoder with its adapters in place."""
        if not self._loaded:
            states = HiddenStates(open_encoder_folder(self.model, self.sha256))
            self._insert(states.encoder)
            self._loaded.append(states)
        return self._loaded[0]

    def _insert(self, encoder: Any) -> None:
        layers = encoder.layers if self.family == "whisper" else encoder.encoder.layers
        for number, layer in enumerate(layers):
            for target in TARGETS[self.family]:
                path, _, name = target.rpartition(".")
                owner = layer.get_submodule(path)
                key = f"{number}_{target.replace('.', '_')}"
                if key not in self.adapters:
                    continue
                linear = getattr(owner, name)
                setattr(owner, name, AdaptedLinear(linear, self.adapters, key, self.selection))
        layers[0].register_forward_pre_hook(self._choose, with_kwargs=True)

    def _choose(self, layer: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Sets the weights of the experts before the first layer is computed."""
        if self._given is not None:
            self.selection.weights = self._given
            return
        frames = args[0] if args else keywords["hidden_states"]
        assert self.gate is not None
        logits = self.gate(_gate_inputs(frames))
        log_weights = torch.log_softmax(logits.float(), dim=-1)[:, None]  # (B, 1, E)
        if self._override is not None:
            routing = Routing(log_weights, log_weights, all_real(log_weights))
            log_weights = self._override.reroute(routing).log_weights
        self.selection.weights = log_weights[:, 0].exp()

    def gate_inputs(self, inputs: Tensor) -> Tensor:
        """Computes what the gate sees of utterances of equal length, of their first 30 s.

        Args:
            inputs: Inputs of the encoder, shape (batch, frames, inputs).

        Returns:
            The normalised mean of the first hidden state, shape (batch, hidden).
        """
        longest = round((WINDOW_SECONDS + 2 * CONTEXT_SECONDS) * FRAMES_PER_SECOND)
        # The first hidden state does not depend on the experts.
        self._given = inputs.new_zeros(len(inputs), self.num_experts)
        try:
            return _gate_inputs(self.hidden_states.states(inputs[:, :longest])[:, :, 0])
        finally:
            self._given = self.selection.weights = None

    def forward(
        self,
        inputs: Tensor,
        mask: Tensor,
        expert: Tensor | None = None,
        override: RoutingOverride | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Computes hidden states; utterances of equal length together, so that none is padded.

        Args:
            inputs: Inputs of the encoder (``HiddenStates.inputs``), shape (batch, frames, inputs).
            mask: True for real frames, shape (batch, frames).
            expert: Index of the expert of each utterance, shape (batch,), in place of the gate; -1
                for a speaker without one.
            override: Replaces the weights of the gate.

        Returns:
            Hidden states side by side, shape (batch, frames, states * hidden), zero where masked;
            and the logarithm of the weights, shape (batch, experts).
        """
        self._override = override
        lengths = mask.sum(dim=1)
        rows: list[Tensor | None] = [None] * len(inputs)
        log_weights: list[Tensor | None] = [None] * len(inputs)
        for length in sorted(set(lengths.tolist())):
            chosen = (lengths == length).nonzero()[:, 0]
            given = self._given_weights(None if expert is None else expert[chosen], inputs, chosen)
            states, weights = self._equal_lengths(inputs[chosen, :length], given)
            for place, row in enumerate(chosen.tolist()):
                rows[row] = states[place]
                log_weights[row] = weights[place].log()
        features = nn.utils.rnn.pad_sequence(
            [row for row in rows if row is not None], batch_first=True
        )
        missing = mask.shape[1] - features.shape[1]
        features = functional.pad(features, (0, 0, 0, missing))
        return features, torch.stack([row for row in log_weights if row is not None])

    def _given_weights(
        self, expert: Tensor | None, inputs: Tensor, chosen: Tensor
    ) -> Tensor | None:
        """The weights of utterances whose expert is known, or that have only one; else None."""
        if expert is not None:
            one_hot = functional.one_hot(expert.clamp_min(0), self.num_experts).to(inputs.dtype)
            # Speakers without an expert have the mean of all.
            return torch.where(expert[:, None] < 0, 1 / self.num_experts, one_hot)
        return inputs.new_ones(len(chosen), 1) if self.gate is None else None

    def _equal_lengths(self, inputs: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """States of utterances of equal length, in windows if they are long."""
        encoder = self.hidden_states
        size = round(WINDOW_SECONDS * FRAMES_PER_SECOND)
        margin = round(CONTEXT_SECONDS * FRAMES_PER_SECOND)
        self._given = given
        parts = []
        try:
            total = inputs.shape[1]
            whole = total <= size + 2 * margin
            for first in range(0, total, total if whole else size):
                begin = max(0, first - margin)
                end = total if whole else first + size + margin
                states = self._select(encoder.states(inputs[:, begin:end]))
                # The gate decides once, by the first window.
                self._given = self.selection.weights
                parts.append(states[:, first - begin :][:, : total if whole else size])
            assert self._given is not None
            return torch.cat(parts, dim=1)[:, :total], self._given
        finally:
            self._given = self.selection.weights = None

    def _select(self, states: Tensor) -> Tensor:
        if self.layers == "mix":
            return states.flatten(2)
        return states[:, :, -1 if self.layers == "last" else int(self.layers)]

    def _apply(self, function: Any, recurse: bool = True) -> AdaptedEncoder:
        """Moves the encoder along with the adapters."""
        # torch gives the method no types.
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        for states in self._loaded:
            states.encoder._apply(function)
        return self


def _gate_inputs(frames: Tensor) -> Tensor:
    """Normalised means of the first hidden state, shape (batch, hidden)."""
    return functional.layer_norm(frames.mean(dim=1), frames.shape[-1:])
