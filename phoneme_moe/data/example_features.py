"""Features of the recordings of a split: log mel features in memory, or hidden states on disk.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def compute_features(sounds: Sequence[Sound], recognizer: Recognizer) -> list[Tensor]:
    """Computes the features of recordings, or finds them on disk.

    Args:
        sounds: Sounds at the sample rate of the model.
        recognizer: The model, whose front end computes the features.

    Returns:
        Shape (frames, features) each; float16 and mapped from disk for a pretrained encoder.
    """
    if isinstance(recognizer.front_end, PretrainedFrontEnd):
        return stored_features(sounds, recognizer.front_end)
    return _log_mel([sound.waveform for sound in sounds], recognizer)


def stored_features(sounds: Sequence[Sound], front_end: PretrainedFrontEnd) -> list[Tensor]:
    """Features from disk, after those that are missing were computed.

    Args:
        sounds: Sounds at 16 kHz.
        front_end: Computes the features.

    Returns:
        Shape (frames, features) each, float16.
    """
    folder = data_root() / ".features"
    keys = SoundIndex(folder).keys(sounds)
    mix = front_end.of_all_layers()
    if mix is not None:
        # A layer is a part of the mix, if that is known.
        every = FeatureStore(folder / mix.name, mix.num_features)
        if all(key in every for key in keys):
            return [front_end.select(every.features(key)) for key in keys]
    store = FeatureStore(folder / front_end.name, front_end.num_features)
    missing = [(key, sound) for key, sound in zip(keys, sounds, strict=True) if key not in store]
    if missing:
        shown = track(missing, "Encoding recordings", True, total=len(missing))
        store.compute_missing(((key, sound.waveform) for key, sound in shown), front_end.encode)
    return [store.features(key) for key in keys]


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
