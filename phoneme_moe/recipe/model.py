"""Section ``model`` of a recipe: experts, gate and combination."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.encoder import EncoderSection
from phoneme_moe.recipe.section import MAX_LAYERS, Count, Frames, Section

Combination = Literal["weighted_sum", "product", "maximum", "vote"]


class Layers(Section):
    """A network; its kind determines which settings apply.

    Attributes:
        kind: Architecture. ``tdnn_1989``: two sigmoid layers on a token, each class summed over
            time (Waibel et al. 1989); ``tdnn``: residual layers over an utterance; ``linear`` and
            ``feed_forward``: a linear map, or layers with ReLU, applied to a token, or to each
            frame of an utterance with its neighbours; ``function``: a function without weights
            (``phoneme_moe.mixture.networks.functions``).
        hidden: Units of the two layers of a ``tdnn_1989``, or of each hidden layer of a
            ``feed_forward`` (required).
        windows: Input frames of the two layers of a ``tdnn_1989``.
        width: Channels of each layer of a ``tdnn``.
        dilations: Step between the input frames of each layer of a ``tdnn``.
        kernel: Input frames of a layer of a ``tdnn``, or of a ``linear`` or ``feed_forward``
            network on an utterance.
        dropout: Dropout rate of the channels of a ``tdnn``.
        bottleneck: Channels of the bottleneck before each layer of a ``tdnn``; none by default.
        function: Name of the registered function, for kind ``function``.
    """

    kind: str = "tdnn"
    hidden: Annotated[tuple[Count, ...], Field(max_length=MAX_LAYERS)] = (8, 3)
    windows: tuple[Frames, Frames] = (3, 5)
    width: Count = 64
    dilations: Annotated[tuple[Frames, ...], Field(max_length=MAX_LAYERS)] = (1, 2, 3)
    kernel: Frames = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bottleneck: Count | None = None
    function: str | None = None

    @property
    def learns(self) -> bool:
        """Whether the network has trainable weights."""
        return self.kind not in {"function", "speaker", "fixed"}

    @model_validator(mode="after")
    def _sizes_fit_the_kind(self) -> Layers:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, found {self.kernel}")
        if self.kind == "tdnn_1989" and len(self.hidden) != 2:
            raise ValueError(
                f"hidden: found {list(self.hidden)}, expected the units of two layers (tdnn_1989)"
            )
        if self.kind == "feed_forward" and "hidden" not in self.model_fields_set:
            raise ValueError("a feed_forward network needs hidden, the units of its layers")
        if self.kind == "function" and self.function is None:
            raise ValueError("kind: function needs function, the name of a registered function")
        if self.kind != "function" and self.function is not None:
            raise ValueError(
                f"function: found {self.function!r}, but the kind is {self.kind}; "
                "expected kind: function"
            )
        return self


class Network(Layers):
    """The network of an expert; settings as in ``Layers``."""

    kind: Literal["tdnn_1989", "tdnn", "linear", "feed_forward", "function"] = "tdnn"


class Gating(Layers):
    """The gate, which weights the experts.

    Attributes:
        kind: A network or function as for an expert, with one score for each expert; ``speaker``:
            selects the expert named after the speaker, who must be known; ``fixed``: constant
            weights.
        activation: Activation of the scores. ``softmax``: weights sum to 1; ``sigmoid``:
            independent weights, 0..1, and the mixture is normalised. (The normalisation of Meta-Pi
            is not known.)
        weights: Weights of a ``fixed`` gate, one for each expert; only their ratios matter.
    """

    kind: Literal["tdnn_1989", "tdnn", "linear", "feed_forward", "function", "speaker", "fixed"] = (
        "tdnn"
    )
    activation: Literal["softmax", "sigmoid"] = "softmax"
    weights: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _weights_are_of_a_fixed_gate(self) -> Gating:
        if self.kind in {"speaker", "fixed"} and self.activation != "softmax":
            raise ValueError(f"activation: a {self.kind} gate has no scores and no activation")
        if self.kind != "fixed":
            if self.weights is not None:
                raise ValueError(f"weights are for kind: fixed, found kind: {self.kind}")
            return self
        if self.weights is None:
            raise ValueError("kind: fixed needs weights, one for each expert")
        if any(not math.isfinite(w) or w < 0 for w in self.weights) or not sum(self.weights) > 0:
            raise ValueError(
                f"weights: found {list(self.weights)}, expected values of at least 0, not all 0"
            )
        return self


class Adapters(Section):
    """Experts that are low-rank adapters in a pretrained encoder, weighted once per utterance.

    Attributes:
        num_experts: Number of experts, each a set of adapters; or ``speakers``, one for each
            training speaker. A single one needs no gate.
        rank: Rank of the adapters (Hu et al. 2021); ``full`` for whole matrices, which is
            fine-tuning if there is one expert.
        layers: Number of layers with adapters, the last ones; all by default.
    """

    num_experts: Count | Literal["speakers"] = 4
    rank: Annotated[int, Field(ge=1, le=1_024)] | Literal["full"] = 8
    layers: Count | None = None


class Model(Section):
    """Experts and a gate; or an encoder with sparse layers.

    Attributes:
        num_experts: Number of experts; or ``speakers``, one expert for each training speaker.
        expert: The network of every expert.
        functions: Names of registered functions as further experts, after the networks.
        gate: The gate; none if there is a single expert.
        combine: Combination of the experts (``mixture.combination``): ``weighted_sum`` of their
            probabilities; ``product``, each to the power of its weight; ``maximum``, the expert
            with the greatest weight; ``vote``, a weighted vote of their best outputs.
        encoder: An encoder in place of experts and gate.
        adapters: Experts inside a pretrained encoder (``features.kind: pretrained``), below
            ``encoder``, which then has no sparse layers.
    """

    num_experts: Count | Literal["speakers"] = 1
    expert: Network = Network()
    functions: tuple[str, ...] = ()
    gate: Gating | None = None
    combine: Combination = "weighted_sum"
    encoder: EncoderSection | None = None
    adapters: Adapters | None = None

    @model_validator(mode="after")
    def _adapters_are_below_an_encoder(self) -> Model:
        if self.adapters is not None and (self.encoder is None or self.encoder.sparse is not None):
            raise ValueError(
                "model.adapters are the experts below a dense model.encoder: expected an encoder "
                "without sparse"
            )
        return self

    @model_validator(mode="after")
    def _encoder_stands_alone(self) -> Model:
        if self.encoder is None:
            return self
        plain = Model()
        for key in ("num_experts", "expert", "functions", "gate", "combine"):
            if getattr(self, key) != getattr(plain, key):
                raise ValueError(
                    f"model.{key} does not go with model.encoder; sparse experts are in "
                    "model.encoder.sparse"
                )
        return self

    @model_validator(mode="after")
    def _experts_need_a_gate(self) -> Model:
        combined = self.num_experts != 1 or bool(self.functions)
        if combined and self.gate is None:
            raise ValueError("model.gate is needed for more than one expert")
        if not combined and self.gate is not None:
            raise ValueError("model.gate has a single expert: model.num_experts is 1")
        if self.combine != "weighted_sum" and (self.gate is None or self.gate.kind == "speaker"):
            raise ValueError(f"model.combine: {self.combine} has only one expert to combine")
        return self

    @model_validator(mode="after")
    def _functions_differ(self) -> Model:
        if self.expert.kind == "function" and self.num_experts != 1:
            raise ValueError(
                f"model.num_experts: found {self.num_experts}, but experts with the same "
                "function are identical; expected 1, and other functions in model.functions"
            )
        names = [*self.functions, *([self.expert.function] if self.expert.function else [])]
        if len(set(names)) != len(names):
            raise ValueError("model.functions contains a function twice")
        return self
