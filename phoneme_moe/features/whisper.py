"""Whisper's encoder (Radford et al. 2022, fig. 1), with the names of its published weights.

It takes any length up to 30 s, without padding, and gives the hidden states of all layers.

Legend: B batch, M mel bands, T frames of 20 ms, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Attention of every frame to all frames."""

    def __init__(self, hidden: int, num_heads: int) -> None:
        """Creates the linear maps; that of keys has no bias."""
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden, hidden)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (batch, frames, hidden) to the same shape."""

        def by_head(values: Tensor) -> Tensor:
            batch, num_frames, hidden = values.shape
            heads = values.view(batch, num_frames, self.num_heads, hidden // self.num_heads)
            return heads.transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            by_head(self.q_proj(frames)), by_head(self.k_proj(frames)), by_head(self.v_proj(frames))
        )
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class WhisperLayer(nn.Module):
    """Self-attention and a feed-forward layer, both residual."""

    def __init__(self, hidden: int, num_heads: int, feed_forward: int) -> None:
        """Creates the layers."""
        super().__init__()
        self.self_attn = SelfAttention(hidden, num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(hidden)
        self.fc1 = nn.Linear(hidden, feed_forward)
        self.fc2 = nn.Linear(feed_forward, hidden)
        self.final_layer_norm = nn.LayerNorm(hidden)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (batch, frames, hidden) to the same shape."""
        frames = frames + self.self_attn(self.self_attn_layer_norm(frames))
        change: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(frames))))
        return frames + change


class WhisperEncoder(nn.Module):
    """The encoder, from log mel features to hidden states."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Creates the layers with random weights.

        Args:
            config: Content of ``config.json``.

        Raises:
            ValueError: A size is missing or no whole number, or the activation function is not
                GELU.
        """
        super().__init__()
        activation = config.get("activation_function", "gelu")
        if activation != "gelu":
            raise ValueError(f"activation_function: found {activation!r}, expected 'gelu'")
        hidden = _size(config, "d_model")
        num_heads = _size(config, "encoder_attention_heads")
        feed_forward = _size(config, "encoder_ffn_dim")
        positions = _size(config, "max_source_positions", 1500)
        if hidden % num_heads:
            raise ValueError(
                f"encoder_attention_heads: found {num_heads}, expected a divisor of d_model "
                f"({hidden})"
            )
        self.conv1 = nn.Conv1d(_size(config, "num_mel_bins", 80), hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden, hidden, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(positions, hidden)
        self.layers = nn.ModuleList(
            WhisperLayer(hidden, num_heads, feed_forward)
            for _ in range(_size(config, "encoder_layers"))
        )
        self.layer_norm = nn.LayerNorm(hidden)

    def forward(self, log_mel: Tensor) -> list[Tensor]:
        """Computes the input of the first layer and the output of every layer.

        Args:
            log_mel: Log mel features every 10 ms, shape (batch, mel bands, 2 frames); up to 30 s.

        Returns:
            Shape (batch, frames, hidden) each; the last one is normalised.
        """
        frames = functional.gelu(self.conv1(log_mel))
        frames = functional.gelu(self.conv2(frames)).transpose(1, 2)
        frames = frames + self.embed_positions.weight[: frames.shape[1]]
        states = [frames]
        for layer in self.layers:
            states.append(layer(states[-1]))
        states[-1] = self.layer_norm(states[-1])
        return states


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or not 1 <= value <= 100_000:
        raise ValueError(f"{key}: found {value!r}, expected a whole number, 1 or more")
    return value
