"""Folders of pretrained encoders in the Hugging Face layout: finding and checking them.

Only the encoder's weights are read, so that a folder without a decoder suffices. Weights come from
safetensors alone, no code comes from a hub, and a weight that is missing is an error: it would stay
random without a word.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.features.encoder_windows import SAMPLE_RATE
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.system.extras import install_command

WEIGHTS = "model.safetensors"
CONFIG, PREPROCESSING = "config.json", "preprocessor_config.json"

ENCODER = "encoder"
"""Folder of the encoder inside a run; it comes before the one that the recipe names."""


@dataclass(frozen=True)
class Architecture:
    """A family of encoders.

    Attributes:
        module: Module of ``transformers``.
        model: Name of the encoder's class.
        prefixes: Names under which checkpoints of whole models have the encoder.
        hidden: Key of the configuration with the size of a hidden state.
        layers: Key of the configuration with the number of layers.
        feed_forward: Key of the configuration with the size of the feed-forward parts.
    """

    module: str
    model: str
    prefixes: tuple[str, ...]
    hidden: str = "hidden_size"
    layers: str = "num_hidden_layers"
    feed_forward: str = "intermediate_size"


ARCHITECTURES = {
    "whisper": Architecture(
        "transformers.models.whisper.modeling_whisper",
        "WhisperEncoder",
        ("model.encoder.", "encoder."),
        "d_model",
        "encoder_layers",
        "encoder_ffn_dim",
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
    def source_sha256(self) -> str:
        """Hash of the weights, also of those from which fewer bits were made."""
        return str(self.config.get("source_sha256", self.sha256))

    @property
    def hidden(self) -> int:
        """Size of a hidden state."""
        return int(self.config[self.architecture.hidden])

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return int(self.config[self.architecture.layers])

    @property
    def feed_forward(self) -> int:
        """Size of the inner layer of the feed-forward parts."""
        return int(self.config[self.architecture.feed_forward])

    @property
    def num_inputs(self) -> int:
        """Inputs of a frame of 20 ms: two frames of log mel features, or samples."""
        if self.config["model_type"] == "whisper":
            return 2 * int(self.config.get("num_mel_bins", 80))
        if self.config["model_type"] == "wav2vec2-bert":
            return int(self.config.get("feature_projection_input_dim", 160))
        return 320


def encoder_of(run: Path, model: str) -> str:
    """The encoder inside a run folder if there is one, else that of its recipe."""
    folder = run / ENCODER
    return str(folder.absolute()) if folder.is_dir() else model


def copy_encoder(run: Path, new: Path) -> None:
    """Copies the encoder inside a run folder, if there is one, into a run that is made from it."""
    if (run / ENCODER).is_dir() and not (new / ENCODER).is_dir():
        with atomic_folder(new / ENCODER, lambda path: None) as folder:
            shutil.copytree(run / ENCODER, folder, dirs_exist_ok=True)


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
    path = Path(model) if Path(model).is_dir() else _folder_from_hub(model, sha256 is not None)
    config = _read_json(path / CONFIG)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise InputError(
            f"{path / CONFIG}: model_type: found {kind!r}{suggest(str(kind), ARCHITECTURES)}"
            f", expected one of {', '.join(ARCHITECTURES)}"
        )
    family = ARCHITECTURES[kind]
    for key in (family.hidden, family.layers, family.feed_forward):
        value = config.get(key)
        if not isinstance(value, int) or not 1 <= value <= 100_000:
            raise InputError(
                f"{path / CONFIG}: {key}: found {value!r}, expected a whole number, 1 or more"
            )
    file = path / PREPROCESSING
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


def _folder_from_hub(model: str, of_a_run: bool) -> Path:
    """The files of an encoder from the cache of the hub, or from the hub."""
    remedy = f"; its new place can be RUN/{ENCODER}" if of_a_run else ""
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise InputError(f"features.model: {model}: no such folder{remedy}")
    hub = import_extra("huggingface_hub")
    names = [CONFIG, PREPROCESSING, WEIGHTS]
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
            f"{problem}{remedy}"
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


def import_extra(module: str) -> Any:
    """Imports a module of ``transformers`` or of what comes with it.

    Raises:
        InputError: The extra ``pretrained`` is not installed.
    """
    import importlib

    # Nothing is loaded from the network but what is named in a recipe.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"features.kind: pretrained needs transformers: {install_command('pretrained')}"
        ) from error
