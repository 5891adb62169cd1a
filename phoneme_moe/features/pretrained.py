"""Features from a frozen pretrained encoder: wav2vec 2.0, HuBERT, WavLM, w2v-BERT 2.0, Whisper.

The encoder is a folder in the Hugging Face layout (``config.json``, ``preprocessor_config.json``,
``model.safetensors``), run by ``transformers``; only the encoder's weights are read, so that a
folder without a decoder suffices. Weights come from safetensors alone, no code comes from a hub,
and a weight that is missing is an error: it would stay random without a word.

Every recording is encoded by itself, since padding changes the answer of some encoders (the group
norm of the BASE models sees it). Frame ``t`` covers the samples ``t * 320 .. (t + 1) * 320``, as
the frames of log mel features do.

Legend: T frames of 20 ms, L hidden states, H size of a hidden state.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.features.log_mel import LogMel

SAMPLE_RATE = 16_000
HOP = 320
"""Samples of a frame: 20 ms."""

WINDOW_SECONDS = 20.0
CONTEXT_SECONDS = 5.0
"""Longer recordings are encoded in windows with context on either side: Whisper's positions end at
30 s, and attention costs the square of the length."""

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Architecture:
    """A family of encoders.

    Attributes:
        module: Module of ``transformers``.
        model: Name of the encoder's class.
        prefixes: Names under which checkpoints of whole models have the encoder.
        hidden: Key of the configuration with the size of a hidden state.
        layers: Key of the configuration with the number of layers.
    """

    module: str
    model: str
    prefixes: tuple[str, ...]
    hidden: str = "hidden_size"
    layers: str = "num_hidden_layers"


ARCHITECTURES = {
    "whisper": Architecture(
        "transformers.models.whisper.modeling_whisper",
        "WhisperEncoder",
        ("model.encoder.", "encoder."),
        "d_model",
        "encoder_layers",
    ),
    "wav2vec2": Architecture(
        "transformers.models.wav2vec2.modeling_wav2vec2", "Wav2Vec2Model", ("wav2vec2.",)
    ),
    "hubert": Architecture(
        "transformers.models.hubert.modeling_hubert", "HubertModel", ("hubert.",)
    ),
    "wavlm": Architecture("transformers.models.wavlm.modeling_wavlm", "WavLMModel", ("wavlm.",)),
    "wav2vec2-bert": Architecture(
        "transformers.models.wav2vec2_bert.modeling_wav2vec2_bert",
        "Wav2Vec2BertModel",
        ("wav2vec2_bert.",),
    ),
}
"""By ``model_type`` of ``config.json``."""

_RENAMED = (
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
)
"""Names of weight normalisation in older and newer checkpoints."""

_UNUSED = ("masked_spec_embed",)
"""Weights that only training of the encoder uses."""


@dataclass(frozen=True)
class EncoderFolder:
    """A checked folder of a pretrained encoder.

    Attributes:
        path: The folder.
        config: Content of ``config.json``.
        preprocessing: Content of ``preprocessor_config.json``; empty without one.
        sha256: Hash of the weights.
    """

    path: Path
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    sha256: str

    @property
    def architecture(self) -> Architecture:
        """The family of the encoder."""
        return ARCHITECTURES[self.config["model_type"]]

    @property
    def hidden(self) -> int:
        """Size of a hidden state."""
        return int(self.config[self.architecture.hidden])

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return int(self.config[self.architecture.layers])


def open_encoder_folder(model: str, sha256: str | None = None) -> EncoderFolder:
    """Finds and checks an encoder.

    Args:
        model: A folder; or a name on the hub, whose files are taken from the local cache and, if
            they are not there, downloaded.
        sha256: Expected hash of the weights.

    Raises:
        InputError: The folder is missing, incomplete, of an unknown architecture, takes another
            sample rate, or has other weights than expected.
    """
    path = Path(model) if Path(model).is_dir() else _folder_from_hub(model)
    config = _read_json(path / "config.json")
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise InputError(
            f"{path / 'config.json'}: model_type: found {kind!r}{suggest(str(kind), ARCHITECTURES)}"
            f", expected one of {', '.join(ARCHITECTURES)}"
        )
    for key in (ARCHITECTURES[kind].hidden, ARCHITECTURES[kind].layers):
        value = config.get(key)
        if not isinstance(value, int) or not 1 <= value <= 100_000:
            raise InputError(
                f"{path / 'config.json'}: {key}: found {value!r}, expected a whole number, 1 or "
                "more"
            )
    file = path / "preprocessor_config.json"
    preprocessing = _read_json(file) if file.is_file() else {}
    rate = preprocessing.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise InputError(f"{file}: sampling_rate: found {rate!r}, expected {SAMPLE_RATE}")
    weights = path / WEIGHTS
    if not weights.is_file():
        others = sorted(f.name for f in path.glob("*") if f.suffix in {".bin", ".pt", ".h5"})
        others += sorted(f.name for f in path.glob("*.safetensors*"))
        raise InputError(
            f"{path}: found {', '.join(others[:3]) or 'no weights'}, expected {WEIGHTS}: weights "
            "are only read from a single safetensors file"
        )
    found = hash_file(weights)
    if sha256 is not None and found != sha256:
        raise InputError(
            f"{weights}: SHA-256: found {found}, expected {sha256} (features.sha256): the run was "
            "trained with another encoder"
        )
    return EncoderFolder(path, config, preprocessing, found)


def hash_file(file: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _folder_from_hub(model: str) -> Path:
    """The files of an encoder from the cache of the hub, or from the hub."""
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise InputError(f"features.model: {model}: no such folder")
    hub = _import("huggingface_hub")
    names = ["config.json", "preprocessor_config.json", WEIGHTS]
    try:
        return Path(hub.snapshot_download(model, allow_patterns=names, local_files_only=True))
    except (OSError, ValueError):  # not in the cache; errors of the hub are of both kinds
        pass
    try:
        return Path(hub.snapshot_download(model, allow_patterns=names))
    except (OSError, ValueError) as error:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise InputError(
            f"features.model: {model}: no such folder, and it cannot be fetched from the hub: "
            f"{problem}"
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: found no JSON, expected settings of an encoder") from error
    if not isinstance(data, dict):
        raise InputError(f"{file}: found a {type(data).__name__}, expected keys and values")
    return data


def _import(module: str) -> Any:
    import importlib

    # Nothing is loaded from the network but what is named in a recipe.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            "features.kind: pretrained needs transformers: pip install 'phoneme-moe[pretrained]'"
        ) from error


def load_encoder(folder: EncoderFolder) -> nn.Module:
    """Builds an encoder and loads its weights, in evaluation mode and without gradients.

    Raises:
        InputError: A weight is missing, or has another shape; the message names it.
    """
    from safetensors.torch import load_file

    auto = _import("transformers.models.auto.configuration_auto")
    architecture = folder.architecture
    settings = {k: v for k, v in folder.config.items() if k not in {"auto_map", "torch_dtype"}}
    # Masks are for training the encoder: without them it has no weights that only masking uses.
    settings |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
    settings |= {"encoder_layerdrop": 0.0, "add_adapter": False}
    try:
        config = auto.CONFIG_MAPPING[folder.config["model_type"]](**settings)
        with torch.device("meta"):
            encoder: nn.Module = getattr(_import(architecture.module), architecture.model)(config)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        problem = str(error).splitlines()[0] if str(error) else repr(error)
        raise InputError(
            f"{folder.path / 'config.json'}: no encoder can be built from it: {problem}"
        ) from error
    # Shapes first: a configuration of absurd sizes is refused before memory is allocated.
    expected = encoder.state_dict()
    try:
        stored = load_file(folder.path / WEIGHTS)
    except Exception as error:  # safetensors has its own errors, of several kinds
        raise InputError(f"{folder.path / WEIGHTS}: found no safetensors weights") from error
    weights = _matching(stored, architecture.prefixes, expected)
    for name, shape in ((name, tensor.shape) for name, tensor in expected.items()):
        if name not in weights:
            raise InputError(
                f"{folder.path / WEIGHTS}: {name} is missing; expected all weights of a "
                f"{folder.config['model_type']} encoder"
            )
        if weights[name].shape != shape:
            raise InputError(
                f"{folder.path / WEIGHTS}: {name}: found shape {tuple(weights[name].shape)}, "
                f"expected {tuple(shape)} as in config.json"
            )
    encoder = getattr(_import(architecture.module), architecture.model)(config)
    encoder.load_state_dict({name: weights[name].float() for name in expected})
    return encoder.eval().requires_grad_(False)


def _matching(
    stored: Mapping[str, Tensor], prefixes: tuple[str, ...], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of the encoder by their names in this version of transformers."""
    prefix = next((p for p in prefixes if any(name.startswith(p) for name in stored)), "")
    weights = {}
    for name, tensor in stored.items():
        if prefix and not name.startswith(prefix):
            continue
        short = name.removeprefix(prefix)
        for older, newer in _RENAMED:
            for one, other in ((older, newer), (newer, older)):
                if short.endswith(one) and short not in expected:
                    renamed = short.removesuffix(one) + other
                    short = renamed if renamed in expected else short
        if short not in _UNUSED:
            weights[short] = tensor
    return weights


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
            layers: ``mix`` for all hidden states, ``last``, or the number of one.
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
        self._loaded: list[Callable[[Waveform], Tensor]] = []

    @property
    def name(self) -> str:
        """Name of the features: the same for the same encoder and layers."""
        return f"{(self.sha256 or 'unknown')[:16]}-{self.layers}-1"

    def of_all_layers(self) -> PretrainedFrontEnd | None:
        """The front end with all hidden states of the same encoder; None if this is it."""
        if self.layers == "mix" or self.num_layers is None:
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
    def encode_window(self) -> Callable[[Waveform], Tensor]:
        """Computes all hidden states of up to 30 s, shape (frames, hidden states, hidden size)."""
        if not self._loaded:
            folder = open_encoder_folder(self.model, self.sha256)
            self._loaded.append(HiddenStates(folder))
        return self._loaded[0]

    @torch.no_grad()
    def encode(self, waveform: Waveform) -> Tensor:
        """Computes the features of a recording of any length.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,).

        Returns:
            Shape (frames, features), in float32; the hidden states of a ``mix`` side by side.
        """
        size = round(WINDOW_SECONDS * SAMPLE_RATE)
        margin = round(CONTEXT_SECONDS * SAMPLE_RATE)
        total = self.num_frames(len(waveform))
        if len(waveform) <= size + 2 * margin:
            return self._select(self.encode_window(waveform))[:total]
        parts = []
        for first in range(0, total * HOP, size):
            begin = max(0, first - margin)
            states = self._select(self.encode_window(waveform[begin : first + size + margin]))
            parts.append(states[(first - begin) // HOP :][: size // HOP])
        return torch.cat(parts)[:total]

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
    """Computes the hidden states of a window of sound."""

    def __init__(self, folder: EncoderFolder) -> None:
        """Loads the encoder.

        Raises:
            InputError: The weights do not fit.
        """
        self.encoder: Any = load_encoder(folder)
        self.kind: str = folder.config["model_type"]
        self.normalized = bool(folder.preprocessing.get("do_normalize", False))
        if self.kind == "whisper":
            bands = int(folder.config["num_mel_bins"])
            self.mel = _whisper_filters(bands)
        elif self.kind == "wav2vec2-bert":
            module = "transformers.models.seamless_m4t.feature_extraction_seamless_m4t"
            self.extractor = _import(module).SeamlessM4TFeatureExtractor()

    def __call__(self, waveform: Waveform) -> Tensor:
        """Computes the input of the first layer and the output of every layer.

        Args:
            waveform: Waveform at 16 kHz, shape (samples,), up to 30 s.

        Returns:
            Shape (frames, hidden states, hidden size), one frame at least.
        """
        frames = max(1, len(waveform) // HOP)
        samples = torch.from_numpy(waveform[: frames * HOP].astype("float32"))
        samples = functional.pad(samples, (0, frames * HOP - len(samples)))
        if self.kind == "whisper":
            states = self._whisper(samples)
        elif self.kind == "wav2vec2-bert":
            # The analysis window of 400 samples and two shifts of 160, centred on the frame.
            padded = functional.pad(samples, (120, 120)).numpy()
            inputs = self.extractor(padded, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            states = self._all_layers(inputs["input_features"])
        else:
            if self.normalized:
                samples = (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()
            states = self._all_layers(functional.pad(samples, (40, 40))[None])
        return torch.stack(states, dim=-2)[0, :frames]

    def _all_layers(self, inputs: Tensor) -> list[Tensor]:
        return list(self.encoder(inputs, output_hidden_states=True).hidden_states)

    def _whisper(self, samples: Tensor) -> list[Tensor]:
        """As ``WhisperEncoder.forward``, which takes 30 s only, for any length up to that."""
        encoder = self.encoder
        frames = functional.gelu(encoder.conv1(self._whisper_log_mel(samples)[None]))
        frames = functional.gelu(encoder.conv2(frames)).transpose(1, 2)
        frames = frames + encoder.embed_positions.weight[: frames.shape[1]]
        states = [frames]
        for layer in encoder.layers:
            output = layer(states[-1], None)
            states.append(output[0] if isinstance(output, tuple) else output)
        states[-1] = encoder.layer_norm(states[-1])
        return states

    def _whisper_log_mel(self, samples: Tensor) -> Tensor:
        """Whisper's log mel spectrogram (Radford et al. 2022), shape (bands, frames of 10 ms)."""
        # An even frame is centred on its 20 ms.
        padded = functional.pad(samples, (40, 360))
        spectrum = torch.stft(
            padded, 400, 160, window=torch.hann_window(400), center=False, return_complex=True
        )
        power = spectrum[:, : len(samples) // 160].abs().square()
        log_mel = (self.mel.T @ power).clamp_min(1e-10).log10()
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0


def _whisper_filters(num_bands: int) -> Tensor:
    """Whisper's mel filters, shape (frequencies, bands)."""
    extraction = _import("transformers.models.whisper.feature_extraction_whisper")
    filters = extraction.WhisperFeatureExtractor(feature_size=num_bands).mel_filters
    return torch.tensor(filters, dtype=torch.float32)
