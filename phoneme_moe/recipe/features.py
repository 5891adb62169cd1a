"""Section ``features`` of a recipe: log mel features, or those of a pretrained encoder."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from phoneme_moe.recipe.section import Section


class Features(Section):
    """Log mel features, the input of the model.

    Attributes:
        kind: Log mel features.
        sample_rate: Samples per second; audio is resampled to it.
        n_mels: Mel bands.
        window_ms: Length of the analysis window in milliseconds.
        window: Shape of the analysis window.
        hop_ms: Frame shift in milliseconds.
        normalization: ``range`` scales a token to -1..1 with mean 0 (Waibel et al. 1989);
            ``utterance`` gives every band mean 0 and the utterance variance 1.
        stack: Number of adjacent frames stacked into one.
    """

    kind: Literal["log_mel"] = "log_mel"
    sample_rate: Annotated[int, Field(ge=4000, le=96000)] = 16000
    n_mels: Annotated[int, Field(ge=2, le=256)] = 40
    window_ms: Annotated[float, Field(gt=1, le=200)] = 25.0
    window: Literal["hann", "hamming"] = "hann"
    hop_ms: Annotated[float, Field(gt=0.5, le=100)] = 10.0
    normalization: Literal["range", "utterance"] = "utterance"
    stack: Annotated[int, Field(ge=1, le=8)] = 1

    @property
    def num_features(self) -> int:
        """Features of a frame, before stacking."""
        return self.n_mels

    @property
    def front_end(self) -> dict[str, Any]:
        """Arguments of ``features.log_mel.LogMel``."""
        return self.model_dump(exclude={"kind", "stack"})


class PretrainedFeatures(Section):
    """Hidden states of a frozen encoder that was trained on other speech.

    Attributes:
        kind: A pretrained encoder (``features.pretrained``).
        model: Folder of an encoder in the Hugging Face layout, or its name on the hub.
        sha256: Hash of ``model.safetensors``; found and stored in the run by training.
        layers: Hidden states that are used: a trainable ``mix`` of all, the ``last``, or that of a
            layer by number; 0 is the input of the first layer.
        stack: Number of adjacent frames (of 20 ms) stacked into one.
        hidden: Size of a hidden state; found and stored in the run by training.
        num_layers: Number of layers; found and stored in the run by training, as are the following.
        feed_forward: Size of the inner layer of the feed-forward parts.
        num_inputs: Inputs of a frame of 20 ms: samples, or log mel features.
        family: Architecture of the encoder, ``model_type`` of its configuration.
    """

    kind: Literal["pretrained"]
    model: Annotated[str, Field(min_length=1, max_length=1_000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    layers: Literal["mix", "last"] | Annotated[int, Field(ge=0, le=1_000)] = "mix"
    stack: Annotated[int, Field(ge=1, le=8)] = 1
    hidden: Annotated[int, Field(ge=1, le=100_000)] | None = None
    num_layers: Annotated[int, Field(ge=1, le=1_000)] | None = None
    feed_forward: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    num_inputs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    family: Annotated[str, Field(max_length=40)] | None = None

    @model_validator(mode="after")
    def _layer_exists(self) -> PretrainedFeatures:
        if isinstance(self.layers, int) and self.layers > (self.num_layers or self.layers):
            raise ValueError(
                f"layers: found {self.layers}, but the encoder has {self.num_layers} layers"
            )
        return self

    @property
    def sample_rate(self) -> int:
        """Samples per second; all encoders take 16 kHz."""
        return 16_000

    @property
    def hop_ms(self) -> float:
        """Frame shift in milliseconds; all encoders have 20."""
        return 20.0

    @property
    def num_mixed(self) -> int:
        """Number of hidden states of a frame."""
        return (self.num_layers or 1) + 1 if self.layers == "mix" else 1

    @property
    def num_features(self) -> int:
        """Features of a frame, before mixing and stacking."""
        return self.num_mixed * (self.hidden or 1)


def _kind(section: Any) -> str:
    if isinstance(section, dict):
        return str(section.get("kind", "log_mel"))
    return str(getattr(section, "kind", "log_mel"))


AnyFeatures = Annotated[
    Annotated[Features, Tag("log_mel")] | Annotated[PretrainedFeatures, Tag("pretrained")],
    Discriminator(_kind),
]
"""Either kind of section; log mel features if it has no ``kind``."""
