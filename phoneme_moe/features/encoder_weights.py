"""Building a pretrained encoder and loading its weights.

Whisper's encoder is our own (``features.whisper``), so that it needs nothing else; the others are
those of ``transformers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phoneme_moe.errors import InputError
from phoneme_moe.features.encoder_folder import (
    CONFIG,
    PREPROCESSING,
    WEIGHTS,
    EncoderFolder,
    import_extra,
)
from phoneme_moe.features.whisper import WhisperEncoder
from phoneme_moe.files.compact_weights import SCALE, WeightBits, compact, restore
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.files.writing import write_bytes, write_json

WEIGHT_BITS = "weight_bits"
"""Key of ``config.json`` in a folder that ``save_encoder`` wrote."""

_RENAMED = (
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
)
"""Names of weight normalisation in older and newer checkpoints."""

_UNUSED = ("masked_spec_embed",)
"""Weights that only training of the encoder uses."""


def load_encoder(folder: EncoderFolder) -> nn.Module:
    """Builds an encoder and loads its weights, in evaluation mode and without gradients.

    Raises:
        InputError: A weight is missing, or has another shape; the message names it.
    """
    try:
        build = _builder(folder)
        with torch.device("meta"):
            encoder = build()
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        problem = str(error).splitlines()[0] if str(error) else repr(error)
        raise InputError(
            f"{folder.path / CONFIG}: no encoder can be built from it: {problem}"
        ) from error
    # Shapes first: a configuration of absurd sizes is refused before memory is allocated.
    expected = encoder.state_dict()
    weights = _matching(_read(folder), folder.architecture.prefixes, expected)
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
    encoder = build()
    encoder.load_state_dict({name: weights[name].float() for name in expected})
    return encoder.eval().requires_grad_(False)


def _builder(folder: EncoderFolder) -> Callable[[], nn.Module]:
    """What builds the encoder with random weights."""
    if folder.config["model_type"] == "whisper":
        return lambda: WhisperEncoder(folder.config)
    auto = import_extra("transformers.models.auto.configuration_auto")
    settings = {k: v for k, v in folder.config.items() if k not in {"auto_map", "torch_dtype"}}
    # Masks are for training the encoder: without them it has no weights that only masking uses.
    settings |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
    settings |= {"encoder_layerdrop": 0.0, "add_adapter": False}
    config = auto.CONFIG_MAPPING[folder.config["model_type"]](**settings)
    model = getattr(import_extra(folder.architecture.module), folder.architecture.model)
    return lambda: model(config)


def _read(folder: EncoderFolder) -> dict[str, Tensor]:
    """The stored weights, in 16 or 32 bits."""
    from safetensors.torch import load_file

    file = folder.path / WEIGHTS
    try:
        stored = load_file(file)
    except Exception as error:  # safetensors has its own errors, of several kinds
        raise InputError(f"{file}: found no safetensors weights") from error
    if folder.config.get(WEIGHT_BITS) != 8:
        return stored
    names = [name for name in stored if not name.endswith(SCALE)]
    form = {
        name: torch.empty(stored[name].shape, device="meta")
        for name in names
        if name + SCALE in stored or stored[name].dim() < 2
    }
    return restore(stored, form, 8, file)


def save_encoder(folder: EncoderFolder, new: Path, bits: WeightBits) -> str:
    """Writes an encoder in fewer bits.

    Args:
        folder: The encoder.
        new: Folder to create.
        bits: Bits of a weight (``files.compact_weights``).

    Returns:
        SHA-256 of the new weights.

    Raises:
        InputError: The encoder cannot be loaded, or a weight is too large for 16 bits.
    """
    from safetensors.torch import save

    weights = compact(load_encoder(folder).state_dict(), bits)
    new.mkdir()
    source = {"source_sha256": folder.source_sha256}
    write_json(new / CONFIG, {**folder.config, **source, WEIGHT_BITS: bits})
    if folder.preprocessing:
        write_json(new / PREPROCESSING, dict(folder.preprocessing))
    for file in sorted(folder.path.glob("LICEN[CS]E*")):
        write_bytes(new / file.name, file.read_bytes())
    contiguous = {name: weight.contiguous() for name, weight in weights.items()}
    write_bytes(new / WEIGHTS, save(contiguous))
    return hash_file(new / WEIGHTS)


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
