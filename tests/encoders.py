"""Small random encoders of every family, as folders in the Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch

HIDDEN, LAYERS = 24, 2
CONVOLUTIONS = {
    "conv_dim": [8] * 7,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
TRANSFORMER = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
FAMILIES = ("whisper", "wav2vec2", "wav2vec2-large", "hubert", "wavlm", "wav2vec2-bert")


def write_encoder(folder: Path, family: str, seed: int = 0) -> Path:
    """Writes an encoder with random weights.

    Args:
        folder: The folder to create.
        family: One of ``FAMILIES``; ``wav2vec2`` is BASE, with group norm over time.
        seed: Of the weights.
    """
    import transformers

    torch.manual_seed(seed)
    rate = {"sampling_rate": 16_000}
    if family == "whisper":
        config = transformers.WhisperConfig(
            d_model=HIDDEN,
            encoder_layers=LAYERS,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_mel_bins=80,
            vocab_size=50,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
        model = transformers.WhisperForConditionalGeneration(config)
    elif family in {"wav2vec2", "wav2vec2-large"}:
        large = family.endswith("large")
        config = transformers.Wav2Vec2Config(
            **TRANSFORMER,
            **CONVOLUTIONS,
            feat_extract_norm="layer" if large else "group",
            do_stable_layer_norm=large,
            mask_time_prob=0.05,
        )
        model = transformers.Wav2Vec2ForCTC(config)
        rate["do_normalize"] = large
    elif family == "hubert":
        model = transformers.HubertModel(transformers.HubertConfig(**TRANSFORMER, **CONVOLUTIONS))
    elif family == "wavlm":
        model = transformers.WavLMModel(transformers.WavLMConfig(**TRANSFORMER, **CONVOLUTIONS))
    else:
        model = transformers.Wav2Vec2BertModel(
            transformers.Wav2Vec2BertConfig(**TRANSFORMER, feature_projection_input_dim=160)
        )
    # Larger than they start, so that all of them matter.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(rate))
    return folder
