"""Features from a frozen pretrained encoder: wav2vec 2.0, HuBERT, WavLM, w2v-BERT 2.0, Whisper.

Whisper's encoder is ``features.whisper``, the others are run by ``transformers``. Every recording
is encoded by itself, since padding changes the answer of some encoders (the group norm of the BASE
models sees it). Frame ``t`` covers the samples ``t * 320 .. (t + 1) * 320``, as the frames of log
mel features do.

Legend: B batch, T frames of 20 ms, I inputs of a frame, L hidden states, H size of a hidden state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.features.encoder_folder import (
    EncoderFolder,
    import_extra,
    open_encoder_folder,
)
from phoneme_moe.features.encoder_weights import load_encoder
from phoneme_moe.features.encoder_windows import HOP, SAMPLE_RATE, encoder_windows
from phoneme_moe.features.log_mel import LogMel
from phoneme_moe.features.whisper_log_mel import WhisperLogMel


class PretrainedFrontEnd(nn.Module):
    """Hidden states of a frozen encoder as features; has no weights of its own.

    The encoder is loaded when it is first needed, so that a model can be built, and its routing be
    computed from stored features, without it.
    """

    def __init__(
        self,
        model: str,
        sha256: str | None,
        layers: str | int,
        num_features: int,
        num_layers: int | None = None,
    ) -> None:
        """Settings as in ``recipe.PretrainedFeatures``.

        Args:
            model: Folder or name of the encoder.
            sha256: Hash of its weights.
            layers: ``mix`` for all hidden states, ``last``, the number of one, or ``inputs`` for
                what the encoder takes.
            num_features: Size of the hidden states that are used, together.
            num_layers: Number of layers of the encoder, if known.
        """
        super().__init__()
        self.model = model
        self.sha256 = sha256
        self.layers = layers
        self.num_layers = num_layers
        self.sample_rate = SAMPLE_RATE
        self.hop = HOP
        self.num_features = num_features
        # For pictures of the sound only.
        self._log_mel = [LogMel(SAMPLE_RATE, 80, hop_ms=10.0)]
        self._loaded: list[HiddenStates] = []

    @property
    def name(self) -> str:
        """Name of the features: the same for the same encoder and layers."""
        return f"{(self.sha256 or 'unknown')[:16]}-{self.layers}-1"

    def of_all_layers(self) -> PretrainedFrontEnd | None:
        """The front end with all hidden states of the same encoder; None if this is it."""
        if self.layers in {"mix", "inputs"} or self.num_layers is None:
            return None
        size = self.num_features * (self.num_layers + 1)
        return PretrainedFrontEnd(self.model, self.sha256, "mix", size, self.num_layers)

    def select(self, features: Tensor) -> Tensor:
        """The features of this front end among those of ``of_all_layers``.

        Args:
            features: Shape (frames, hidden states * hidden size).
        """
        return self._select(features.reshape(len(features), -1, self.num_features))

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.sample_rate

    def num_frames(self, num_samples: int) -> int:
        """Number of complete frames in ``num_samples`` samples."""
        return num_samples // self.hop

    @property
    def encode_window(self) -> HiddenStates:
        """Computes all hidden states of up to 30 s, shape (frames, hidden states, hidden size)."""
        if not self._loaded:
            folder = open_encoder_folder(self.model, self.sha256)
            self._loaded.append(HiddenStates(folder, self.layers == "inputs"))
        return self._loaded[0]

    @torch.no_grad()
    def encode(self, waveform: Waveform) -> Tensor:
        """Computes the features of a recording of any length.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,).

        Returns:
            Shape (frames, features), in float32; the hidden states of a ``mix`` side by side.
        """
        total = self.num_frames(len(waveform))
        if self.layers == "inputs":
            return self.encode_window.inputs(waveform)[:total]
        parts = [
            self._select(self.encode_window(waveform[window.samples]))[window.frames]
            for window in encoder_windows(len(waveform))
        ]
        return torch.cat(parts)[:total]

    def encode_frames(self, samples: Tensor) -> Tensor:
        """Computes the features of whole frames, up to 30 s, so that ONNX can express it.

        Args:
            samples: Samples at 16 kHz, shape (frames * 320,).

        Returns:
            Shape (frames, features).
        """
        encoder = self.encode_window
        return self._select(encoder.states(encoder.inputs_of_frames(samples)[None])[0])

    def _select(self, states: Tensor) -> Tensor:
        """The hidden states that the recipe names, shape (frames, features)."""
        if self.layers == "mix":
            return states.flatten(1)
        return states[:, -1 if self.layers == "last" else int(self.layers)]

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """As ``LogMel.forward``; every recording is encoded by itself."""
        rows = [
            self.encode(waveform[:samples].cpu().numpy())
            for waveform, samples in zip(waveforms, num_samples.tolist(), strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        features = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(waveforms.device)
        mask = torch.arange(features.shape[1]) < lengths[:, None]
        return features, mask.to(waveforms.device)

    def mel_energies(self, waveforms: Tensor) -> Tensor:
        """Power in 80 mel bands every 10 ms, for pictures; as ``LogMel.mel_energies``."""
        return self._log_mel[0].mel_energies(waveforms.cpu())


class HiddenStates:
    """An encoder, from a waveform to the hidden states of all layers."""

    def __init__(self, folder: EncoderFolder, inputs_only: bool = False) -> None:
        """Loads the encoder.

        Args:
            folder: The encoder.
            inputs_only: Whether only ``inputs`` will be used, which needs no weights.

        Raises:
            InputError: The weights do not fit.
        """
        self.encoder: Any = None if inputs_only else load_encoder(folder)
        self.kind: str = folder.config["model_type"]
        self.normalized = bool(folder.preprocessing.get("do_normalize", False))
        if self.kind == "whisper":
            self.log_mel = WhisperLogMel.of(int(folder.config.get("num_mel_bins", 80)))
        elif self.kind == "wav2vec2-bert":
            module = "transformers.models.seamless_m4t.feature_extraction_seamless_m4t"
            self.extractor = import_extra(module).SeamlessM4TFeatureExtractor()

    def __call__(self, waveform: Waveform) -> Tensor:
        """Computes the input of the first layer and the output of every layer.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,), up to 30 s.

        Returns:
            Shape (frames, hidden states, hidden size), one frame at least.
        """
        return self.states(self.inputs(waveform)[None])[0]

    def inputs(self, waveform: Waveform) -> Tensor:
        """Computes what the encoder takes: log mel features, or the samples themselves.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,).

        Returns:
            Shape (frames, inputs of a frame), one frame at least.
        """
        frames = max(1, len(waveform) // HOP)
        samples = torch.from_numpy(waveform[: frames * HOP].astype("float32"))
        samples = functional.pad(samples, (0, frames * HOP - len(samples)))
        return self.inputs_of_frames(samples)

    def inputs_of_frames(self, samples: Tensor) -> Tensor:
        """Computes what the encoder takes, from whole frames.

        Args:
            samples: Samples at 16 kHz, shape (frames * 320,).

        Returns:
            Shape (frames, inputs of a frame).
        """
        if self.kind == "whisper":
            # Two frames of 10 ms in one of 20.
            return self.log_mel(samples).T.reshape(-1, 2 * self.log_mel.filters.shape[1])
        if self.kind == "wav2vec2-bert":
            # The analysis window of 400 samples and two shifts of 160, centred on the frame.
            padded = functional.pad(samples, (120, 120)).numpy()
            inputs = self.extractor(padded, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            features: Tensor = inputs["input_features"][0, : len(samples) // HOP]
            return features
        if self.normalized:
            samples = (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()
        return samples.reshape(-1, HOP)

    def states(self, inputs: Tensor) -> Tensor:
        """Computes the hidden states of recordings of equal length.

        Args:
            inputs: Shape (batch, frames, inputs of a frame).

        Returns:
            Shape (batch, frames, hidden states, hidden size).
        """
        if self.kind == "whisper":
            batch, frames, _ = inputs.shape
            mel = inputs.reshape(batch, 2 * frames, -1).transpose(1, 2)
            return torch.stack(self.encoder(mel), dim=-2)
        if self.kind != "wav2vec2-bert":
            inputs = functional.pad(inputs.flatten(1), (40, 40))
        states = self.encoder(inputs, output_hidden_states=True).hidden_states
        return torch.stack(tuple(states), dim=-2)
