"""Synthetic tokens of speakers who differ in their patterns of the same phonemes."""

from __future__ import annotations

import torch

from phoneme_moe_reproductions.tokens import Tokens


def made_tokens(seed: int, each: int = 30, speakers: int = 3, noise: float = 0.3) -> Tokens:
    """Each speaker has a different pattern for each phoneme; only noise differs by seed.

    Two speakers have the same three patterns for other phonemes: no net can serve both without
    the speaker's identity, which a speaker-specific pattern in the last bands reveals.
    """
    patterns = torch.Generator().manual_seed(99)
    sounds = torch.randn(3, 15, 12, generator=patterns)
    voices = torch.randn(speakers, 1, 4, generator=patterns)
    generator = torch.Generator().manual_seed(seed)
    phoneme = torch.arange(3).repeat(speakers * each)
    speaker = torch.arange(speakers).repeat_interleave(3 * each)
    features = torch.cat(
        [sounds[(phoneme + speaker) % 3], voices[speaker].expand(-1, 15, -1)], dim=-1
    )
    features = features + noise * torch.randn(features.shape, generator=generator)
    names = tuple(f"s{k}" for k in range(speakers))
    return Tokens(features / 2, phoneme, speaker, ("b", "d", "g"), names)
