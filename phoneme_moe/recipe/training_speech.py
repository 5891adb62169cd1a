"""Settings of the training utterances: augmentation, and streaming from shards."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from phoneme_moe.recipe.section import Count, Milliseconds, Section

Masks = Annotated[int, Field(ge=0, le=1_000)]


class Augmentation(Section):
    """Data augmentation of training utterances.

    Attributes:
        quiet_ends: Share of the utterances whose quiet ends are trimmed by a random amount.
        speed: Maximum relative change of speed (time axis of the features stretched).
        vocal_tract: Maximum relative change of vocal tract length (mel axis stretched).
        time_masks: Time masks per utterance (SpecAugment, Park et al. 2019).
        time_mask_ms: Maximum length of a time mask in milliseconds.
        band_masks: Frequency masks per utterance.
        band_mask_bands: Maximum width of a frequency mask in mel bands.
    """

    quiet_ends: Annotated[float, Field(ge=0, le=1)] = 0.0
    speed: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    vocal_tract: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    time_masks: Masks = 0
    time_mask_ms: Milliseconds = 50.0
    band_masks: Masks = 0
    band_mask_bands: Annotated[int, Field(ge=0, le=256)] = 6


class Stream(Section):
    """Streaming of the training utterances from shards, for corpora larger than memory.

    Shards are made by ``phoneme-moe corpora shard``. Features are computed anew in every epoch.

    Attributes:
        batch_seconds: Most speech in a batch, in seconds, with the padding to its longest
            utterance; ``batch_size`` limits the number of utterances besides.
        buffer: Number of utterances, with their audio in memory, from which batches of similar
            length are made in random order.
        workers: Processes that decode audio and compute features; 0 for none besides the training
            itself. Weights do not depend on it.
    """

    batch_seconds: Annotated[float, Field(gt=0, le=100_000)] = 300.0
    buffer: Count = 1_000
    workers: Annotated[int, Field(ge=0, le=1_000)] = 1
