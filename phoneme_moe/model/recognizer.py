"""The recogniser: experts behind a gate, or an encoder, from features to log posteriors.

It combines features, mixture and decoding. A run folder stores its recipe sections in
``model.json`` and its weights in ``model.safetensors`` (``run_folder``).

Legend: B batch, T frames (1 for a token), E experts, P outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.log_mel import stack_frames
from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.mixture import mix
from phoneme_moe.mixture.override import LayerOverrides, RoutingOverride
from phoneme_moe.mixture.receptive_field import receptive_field
from phoneme_moe.mixture.routing import Routing, fixed_routing
from phoneme_moe.model.adapted_encoder import AdaptedEncoder
from phoneme_moe.model.build import NetworkInput, build_encoder, build_experts, build_gate
from phoneme_moe.model.encoder import Encoder
from phoneme_moe.model.front_end import build_adapted_encoder, build_front_end
from phoneme_moe.model.layer_mix import LayerMix
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.model.timing_net import TimingNet
from phoneme_moe.recipe import AnyFeatures, Model, PretrainedFeatures, Task
from phoneme_moe.recipe.router import numbered_experts
from phoneme_moe.recipe.weights import require_weights


class Recognizer(nn.Module):
    """Experts behind a gate, or an encoder with sparse experts, with log mel features as input."""

    def __init__(
        self,
        features: AnyFeatures,
        task: Task,
        model: Model,
        phonemes: tuple[str, ...],
        experts: tuple[str, ...],
    ) -> None:
        """Builds the model with initial weights.

        Args:
            features: Section ``features`` of the recipe.
            task: Section ``task`` of the recipe.
            model: Section ``model`` of the recipe.
            phonemes: The phoneme set in order, without the blank.
            experts: Name of each expert: that of its speaker or function, or a numbered name.

        Raises:
            InputError: The model is absurdly large, a function of it is not registered, or the
                number of weights of the fixed gate is wrong.
        """
        super().__init__()
        self.task = task
        self.phonemes = PhonemeSet(phonemes, has_blank=task.kind == "recognize")
        self.expert_names = experts
        # Its constants are values, also where the weights are shapes only (``weight_shapes``).
        with torch.device("cpu"):
            self.front_end = build_front_end(features, model.adapters)
        self.stack = features.stack
        self.combination = model.combine
        self.gate_is_speaker = model.gate is not None and model.gate.kind == "speaker"
        sparse = None if model.encoder is None else model.encoder.sparse
        self.embedding_size = None if sparse is None else sparse.router.embedding_size
        outputs = self.phonemes.num_outputs
        require_weights(features, task, model, outputs, len(experts))
        self.timing: TimingNet | None = None
        """Determines phoneme times; set after its training."""
        self.decoding = Decoding()
        """Decoding settings; set after calibration."""
        self.adapted: AdaptedEncoder | None = None
        if isinstance(features, PretrainedFeatures) and model.adapters is not None:
            self.adapted = build_adapted_encoder(features, model.adapters, len(experts))
        self.layer_mix: LayerMix | None = None
        self.num_unmixed = num_features = features.num_features
        if isinstance(features, PretrainedFeatures) and features.num_mixed > 1:
            self.layer_mix = LayerMix(features.num_mixed)
            num_features //= features.num_mixed
        self.encoder: Encoder | None = None
        self.experts: Experts | None = None
        self.gate: Gate | None = None
        if model.encoder is not None:
            self.encoder = build_encoder(model.encoder, num_features * features.stack, outputs)
            return
        inputs = NetworkInput(
            num_features * features.stack,
            self.front_end.num_frames(self.token_samples),
            task.kind == "classify",
        )
        self.experts = build_experts(model, experts, inputs, outputs)
        if model.gate is not None and not self.gate_is_speaker:
            self.gate = build_gate(model.gate, experts, inputs)

    def routed_layer(self, layer: str | None = None) -> tuple[str | None, tuple[str, ...]]:
        """Name and experts of a sparse layer; None and the gate's experts without sparse layers.

        Args:
            layer: Name of the layer; the last one by default.

        Raises:
            ArgumentError: The layer does not exist.
        """
        layers = self.encoder.sparse_layers if self.encoder else []
        names = [sparse.name for sparse in layers]
        if layer is not None and layer not in names:
            known = f": found {', '.join(names)}" if names else "; this run has no sparse layers"
            raise ArgumentError("layer", f"no layer {layer!r}{known}")
        if not layers:
            return None, self.expert_names
        chosen = layers[names.index(layer) if layer is not None else -1]
        return chosen.name, numbered_experts(chosen.experts.num_experts)

    @property
    def token_samples(self) -> int:
        """Samples of an excised token."""
        return round(self.task.token_ms * self.front_end.sample_rate / 1000)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of posteriors to the next."""
        return self.front_end.frame_seconds * self.stack

    @property
    def context(self) -> int | None:
        """Context to either side in frames of posteriors; None for the whole utterance."""
        if self.encoder is not None:
            return self.encoder.context
        networks = [network for network in (self.experts, self.gate) if network is not None]
        reaches = [receptive_field(network) for network in networks]
        return None if None in reaches else max(r for r in reaches if r is not None)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(chain(self.parameters(), self.buffers())).device

    def mix_layers(self, features: Tensor, mask: Tensor) -> Tensor:
        """Mixes the hidden states of a pretrained encoder; all else stays as it is.

        ``forward`` does it for features that are not mixed yet. Training does it before
        augmentation, which is then of one state instead of all.

        Args:
            features: Output of ``front_end``, or of this, shape (batch, frames, features).
            mask: True for real frames, shape (batch, frames).
        """
        if self.layer_mix is None or features.shape[-1] != self.num_unmixed:
            return features
        mixed: Tensor = self.layer_mix(features, mask)
        return mixed

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        expert: Tensor | None = None,
        expert_log_posteriors: Tensor | None = None,
        embedding: Tensor | None = None,
        override: RoutingOverride | LayerOverrides | None = None,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Recognition:
        """Computes the posteriors and routing of a batch.

        Args:
            features: Output of ``front_end`` or of ``mix_layers``, shape (batch, frames,
                features), in float16 if it comes from disk.
            mask: True for real frames, shape (batch, frames).
            expert: Index of the expert of each utterance, shape (batch,), in place of the gate;
                only that expert is computed.
            expert_log_posteriors: Cached outputs of the experts for these features, shape (batch,
                frames, experts, outputs); only the gate is computed.
            embedding: External embedding of each utterance, shape (batch, size), for routers that
                use one.
            override: Replaces the routing of the gate or the routers; that of several layers only
                for an encoder.
            augment: Changes mixed hidden states and their mask, in training of adapters: an encoder
                has never seen masked inputs. It may return several versions of the batch.

        Raises:
            InputError: The gate is the speaker's identity and no speaker is given, or the routers
                need an embedding, which is missing or of a wrong size.
        """
        if features.dtype == torch.float16:  # hidden states as they lie on disk
            features = features.float()
        log_weights = None
        if self.adapted is not None:
            assert not isinstance(override, LayerOverrides)
            features, log_weights = self.adapted(features, mask, expert, override)
        features = self.mix_layers(features, mask)
        if augment is not None:
            features, mask = augment(features, mask)
            if log_weights is not None:
                log_weights = log_weights.repeat(len(features) // len(log_weights), 1)
        features, mask = stack_frames(features, mask, self.stack)
        if self.encoder is not None:
            recognition = self._encode(features, mask, embedding, override)
            if log_weights is None:
                return recognition
            # One decision for all frames of an utterance.
            of_frames = log_weights[:, None].expand(-1, mask.shape[1], -1)
            return replace(recognition, routing=Routing(of_frames, of_frames, mask))
        assert self.experts is not None
        assert not isinstance(override, LayerOverrides)
        if expert is None and self.gate_is_speaker and not _names_one_expert(override):
            raise InputError(
                "model.gate is of kind speaker, which picks the speaker's expert; name the "
                f"speaker, one of: {', '.join(self.expert_names)}"
            )
        if expert is None and self.gate is None:
            expert = torch.zeros(features.shape[0], dtype=torch.long, device=features.device)
        mixture = mix(
            self.experts,
            self.gate,
            features,
            mask,
            self.combination,
            expert=expert,
            expert_outputs=expert_log_posteriors,
            override=override,
        )
        return Recognition(mixture.outputs, mixture.routing, mixture.expert_outputs)

    def _encode(
        self,
        features: Tensor,
        mask: Tensor,
        embedding: Tensor | None,
        override: RoutingOverride | LayerOverrides | None = None,
    ) -> Recognition:
        assert self.encoder is not None
        size = None if embedding is None else embedding.shape[-1]
        if self.embedding_size != size and self.embedding_size is not None:
            raise InputError(
                f"the routers need an embedding of {self.embedding_size} numbers for each "
                f"utterance: found {size or 'none'}"
            )
        hidden, layers = self.encoder.hidden_states(features, mask, embedding, override)
        log_posteriors = torch.log_softmax(self.encoder.output(hidden).float(), dim=-1)
        whole = torch.zeros(features.shape[0], dtype=torch.long, device=features.device)
        return Recognition(
            log_posteriors, fixed_routing(whole, 1, mask), layers=layers, hidden=hidden
        )

    def recognize_waveforms(
        self,
        waveforms: Tensor,
        num_samples: Tensor,
        expert: Tensor | None = None,
        embedding: Tensor | None = None,
    ) -> Recognition:
        """Computes the posteriors and routing of waveforms.

        Args:
            waveforms: Waveforms at ``front_end.sample_rate``, shape (batch, samples).
            num_samples: Number of samples of each waveform, shape (batch,).
            expert: As in ``forward``.
            embedding: As in ``forward``.

        Raises:
            InputError: As in ``forward``.
        """
        features, mask = self.front_end(waveforms, num_samples)
        return self.forward(features, mask, expert, embedding=embedding)


def _names_one_expert(override: RoutingOverride | None) -> bool:
    """Whether the override selects a single expert, so that no gate is needed."""
    return override is not None and len(override.only) == 1
