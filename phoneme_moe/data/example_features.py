"""Features of the recordings of a split: in memory, or on disk if they are large.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.corpora.prepared import data_root
from phoneme_moe.data.sounds import Sound, SoundIndex
from phoneme_moe.features.feature_store import FeatureStore
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.system.progress import track

SAMPLES_AT_ONCE = 1 << 21
"""Maximum samples, including padding, in a batch of feature extraction: spectra take 20 times as
much memory, and larger batches are not faster."""


IN_MEMORY_BYTES = 1 << 30
"""Log mel features of a split that take more, as float32, are kept on disk in 16 bits."""

DECODED_AT_ONCE = 500
"""Most recordings that are in memory while their features are computed for the disk."""


class StoredFrontEnd(Protocol):
    """What computes features that are kept on disk."""

    num_features: int

    @property
    def name(self) -> str:
        """Name of the features: the same for the same settings."""

    def encode(self, waveform: Waveform) -> Tensor:
        """Computes the features of a recording, shape (frames, features)."""

    def of_all_layers(self) -> StoredFrontEnd | None:
        """What computes features of which these are a part (``select``), if there is one."""

    def select(self, features: Tensor) -> Tensor:
        """These features among those of ``of_all_layers``."""


def belongs_on_disk(seconds: float, recognizer: Recognizer) -> bool:
    """Whether the features of so much speech are kept on disk.

    Args:
        seconds: Length of the recordings.
        recognizer: The model, whose front end computes the features.
    """
    front_end = recognizer.front_end
    size = seconds / front_end.frame_seconds * front_end.num_features * 4
    return isinstance(front_end, PretrainedFrontEnd) or size > IN_MEMORY_BYTES


def compute_features(
    sounds: Sequence[Sound], recognizer: Recognizer, on_disk: bool
) -> list[Tensor]:
    """Computes the features of recordings, or finds them on disk.

    Args:
        sounds: Sounds at the sample rate of the model.
        recognizer: The model, whose front end computes the features.
        on_disk: Whether they are kept there (``belongs_on_disk``).

    Returns:
        Shape (frames, features) each; float16 and mapped from disk if they are there.
    """
    front_end = recognizer.front_end
    if isinstance(front_end, PretrainedFrontEnd):
        return stored_features(sounds, front_end)
    if on_disk:
        return stored_features(sounds, _StoredLogMel(recognizer))
    return _log_mel([sound.waveform for sound in sounds], recognizer)


class _StoredLogMel:
    """Log mel features for the disk."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.num_features = recognizer.front_end.num_features

    @property
    def name(self) -> str:
        return str(self.recognizer.front_end.name)

    def encode(self, waveform: Waveform) -> Tensor:
        return _log_mel([waveform], self.recognizer)[0]

    def of_all_layers(self) -> None:
        return None

    def select(self, features: Tensor) -> Tensor:
        return features


def stored_features(sounds: Sequence[Sound], front_end: StoredFrontEnd) -> list[Tensor]:
    """Features from disk, after those that are missing were computed.

    Few recordings at a time are in memory.

    Args:
        sounds: Sounds at the sample rate of the front end.
        front_end: Computes the features.

    Returns:
        Shape (frames, features) each, float16.
    """
    folder = data_root() / ".features"
    index = SoundIndex(folder)
    store = FeatureStore(folder / front_end.name, front_end.num_features)
    mix = front_end.of_all_layers()
    # A layer is a part of the mix, if that is known.
    every = None if mix is None else FeatureStore(folder / mix.name, mix.num_features)

    def is_stored(key: str | None) -> bool:
        return key is not None and (key in store or (every is not None and key in every))

    keys = [index.known_key(sound) for sound in sounds]
    pending = [i for i, key in enumerate(keys) if not is_stored(key)]
    bar = iter(track(range(len(pending)), "Computing features", bool(pending)))
    for start in range(0, len(pending), DECODED_AT_ONCE):
        chosen = [sounds[i] for i in pending[start : start + DECODED_AT_ONCE]]
        found = index.keys(chosen)
        keys_of_chosen = zip(pending[start:], found, strict=False)
        for i, key in keys_of_chosen:
            keys[i] = key
        missing = [
            (key, sound) for key, sound in zip(found, chosen, strict=True) if not is_stored(key)
        ]
        if missing:
            store.compute_missing(_waveforms(missing, bar), front_end.encode)
        if len(pending) > DECODED_AT_ONCE:
            for sound in chosen:
                sound.forget()
    for _ in bar:  # to its end, which removes it
        pass
    return [
        store.features(key)
        if every is None or key not in every
        # The mix may have what the store has too; both are the same.
        else front_end.select(every.features(key))
        for key in map(str, keys)
    ]


def _waveforms(
    missing: Sequence[tuple[str, Sound]], bar: Iterator[int]
) -> Iterator[tuple[str, Waveform]]:
    for key, sound in missing:
        yield key, sound.waveform
        next(bar, None)


def _batches_of_similar_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of recordings of similar length, with at most ``SAMPLES_AT_ONCE`` samples."""
    chosen: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chosen and (len(chosen) + 1) * lengths[index] > SAMPLES_AT_ONCE:
            yield chosen
            chosen = []
        chosen.append(index)
    if chosen:
        yield chosen


@torch.no_grad()
def _log_mel(waveforms: Sequence[Waveform], recognizer: Recognizer) -> list[Tensor]:
    features = [torch.empty(0)] * len(waveforms)
    device = recognizer.device
    for chosen in _batches_of_similar_length([len(waveform) for waveform in waveforms]):
        num_samples = torch.tensor([len(waveforms[i]) for i in chosen])
        padded = torch.zeros(len(chosen), int(num_samples.max()))
        for row, i in enumerate(chosen):
            padded[row, : len(waveforms[i])] = torch.from_numpy(waveforms[i])
        computed, mask = recognizer.front_end(padded.to(device), num_samples.to(device))
        num_frames = mask.sum(dim=1).tolist()
        computed = computed.cpu()
        for row, i in enumerate(chosen):
            # Copied, since a view would keep the whole padded batch in memory.
            features[i] = computed[row, : num_frames[row]].clone()
    return features
