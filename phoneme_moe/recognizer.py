"""The model: waveforms to features to experts behind a gate to log posteriors and routing.

Here speech and mixture meet. A run folder's ``model.json`` and ``model.safetensors`` are this
module's sections and weights (``phoneme_moe.run``).

Legend: B batch, T frames (1 for a token), E experts, P outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phoneme_moe.mixture.dispatch import Dispatch
from phoneme_moe.mixture.networks import Experts, Gate, StackTDNN
from phoneme_moe.mixture.routing import Routing, combine, dense_routing, fixed_routing
from phoneme_moe.mixture.token_networks import TokenTDNN
from phoneme_moe.recipe import Features, Model, Network, Task
from phoneme_moe.speech.features import LogMel, stack_frames
from phoneme_moe.speech.phonemes import PhonemeSet


@dataclass(frozen=True)
class Recognition:
    """What the model says of a batch.

    Attributes:
        log_posteriors: Of the mixture, natural logarithm, shape (batch, frames, outputs).
        routing: Which experts were asked; its mask marks the real frames.
        expert_log_posteriors: Of every expert, shape (batch, frames, experts, outputs); None where
            each utterance was sent to one expert only.
    """

    log_posteriors: Tensor
    routing: Routing
    expert_log_posteriors: Tensor | None = None


class Recognizer(nn.Module):
    """Speaker experts behind a gate, on log mel features."""

    def __init__(
        self,
        features: Features,
        task: Task,
        model: Model,
        phonemes: tuple[str, ...],
        experts: tuple[str, ...],
    ) -> None:
        """Builds the model with fresh weights.

        Args:
            features: Section of the recipe.
            task: Section of the recipe.
            model: Section of the recipe.
            phonemes: The phoneme set in order, without the blank.
            experts: Name of each expert; the speaker's name where an expert has one.
        """
        super().__init__()
        self.task = task
        self.phonemes = PhonemeSet(phonemes, has_blank=task.kind == "recognize")
        self.expert_names = experts
        self.log_mel = LogMel(**features.model_dump(exclude={"stack"}))
        self.stack = features.stack
        num_experts = len(experts)
        self.experts = Experts(
            self._network(model.expert, num_experts, self.phonemes.num_outputs), num_experts
        )
        self.gate = None if model.gate is None else Gate(self._network(model.gate, 1, num_experts))

    def _network(self, network: Network, num_experts: int, outputs: int) -> TokenTDNN | StackTDNN:
        num_features = self.log_mel.n_mels * self.stack
        if network.kind == "tdnn_1989":
            num_frames = self.log_mel.num_frames(self.token_samples)
            return TokenTDNN(
                num_experts,
                num_features,
                num_frames,
                outputs,
                network.hidden,
                network.windows,
            )
        return StackTDNN(
            num_experts,
            num_features,
            outputs,
            network.width,
            network.dilations,
            network.kernel,
            network.dropout,
            network.bottleneck,
        )

    @property
    def token_samples(self) -> int:
        """Samples of an excised token."""
        return round(self.task.token_ms * self.log_mel.sample_rate / 1000)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of posteriors to the next."""
        return self.log_mel.frame_seconds * self.stack

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        expert: Tensor | None = None,
        expert_log_posteriors: Tensor | None = None,
    ) -> Recognition:
        """Posteriors and routing of a batch.

        Args:
            features: From ``log_mel``, shape (batch, frames, features).
            mask: Real frames, shape (batch, frames).
            expert: Index of the expert that each utterance is sent to instead of asking the gate,
                shape (batch,). Only that expert is computed.
            expert_log_posteriors: What the experts say of these features, where it is known
                already, shape (batch, frames, experts, outputs); only the gate is computed.
        """
        features, mask = stack_frames(features, mask, self.stack)
        if expert is None and self.gate is None:
            expert = torch.zeros(len(features), dtype=torch.long, device=features.device)
        if expert is not None:
            return self._recognize_with(features, mask, expert)
        assert self.gate is not None
        if expert_log_posteriors is None:
            expert_log_posteriors = self.experts(features, mask)  # (B, T, E, P)
        decisions = mask[:, : expert_log_posteriors.shape[1]]
        routing = dense_routing(self.gate(features, mask), decisions)
        blend = combine(routing, expert_log_posteriors)
        return Recognition(blend, routing, expert_log_posteriors)

    def _recognize_with(self, features: Tensor, mask: Tensor, expert: Tensor) -> Recognition:
        dispatch = Dispatch.to_experts(expert, self.experts.num_experts)
        scores = self.experts.network(dispatch.pack(features), dispatch.pack(mask))
        log_posteriors = dispatch.unpack(scores.float()).log_softmax(dim=-1)  # (B, T, P)
        decisions = mask[:, : log_posteriors.shape[1]]
        return Recognition(
            log_posteriors, fixed_routing(expert, self.experts.num_experts, decisions)
        )

    def recognize_waveforms(
        self, waveforms: Tensor, num_samples: Tensor, expert: Tensor | None = None
    ) -> Recognition:
        """The whole way from sound.

        Args:
            waveforms: Shape (batch, samples), at ``log_mel.sample_rate``.
            num_samples: Samples of each, shape (batch,).
            expert: As in ``forward``.
        """
        features, mask = self.log_mel(waveforms, num_samples)
        return self.forward(features, mask, expert)
