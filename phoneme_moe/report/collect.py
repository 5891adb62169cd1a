"""Runs a model over a split and notes which expert was asked in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor

from phoneme_moe.inference import recognize_examples
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.report.table import RoutingTable
from phoneme_moe.speech.phonemes import BLANK
from phoneme_moe.training.data import Example


def collect_routing(
    recognizer: Recognizer, examples: Sequence[Example], layer: str | None = None
) -> RoutingTable:
    """The routing of every real frame (or token).

    The phoneme of a frame is what is spoken at its centre where the corpus has times; else what the
    model's own forced alignment of the reference puts there.

    Args:
        recognizer: In evaluation mode.
        examples: At least one.
        layer: A sparse layer of an encoder; its last one when left out.

    Raises:
        InputError: There is no such layer.
    """
    layer, experts = recognizer.routed_layer(layer)
    speakers = tuple(sorted({example.speaker for example in examples}))
    spoken = {phoneme for example in examples for phoneme in example.phonemes}
    unknown = sorted(spoken - set(recognizer.phonemes.symbols))
    phonemes = (*recognizer.phonemes.symbols, *unknown)
    # No phoneme has no row: -1.
    phoneme_index: dict[str | None, int] = {p: index for index, p in enumerate(phonemes)}
    utterances: list[str] = []
    columns: list[tuple[NDArray[np.float32], int, NDArray[np.int64], int]] = []
    for batch, recognition in recognize_examples(recognizer, examples):
        weights = recognition.routing_of(layer).weights.cpu().numpy()
        num_frames = recognition.routing.mask.sum(dim=1).tolist()
        for row, example in enumerate(batch.examples):
            frames = num_frames[row]
            labels = _frame_phonemes(
                recognizer, example, recognition.log_posteriors[row, :frames].cpu()
            )
            columns.append(
                (
                    weights[row, :frames],
                    speakers.index(example.speaker),
                    np.array([phoneme_index.get(label, -1) for label in labels], dtype=np.int64),
                    len(utterances),
                )
            )
            utterances.append(example.utterance)
    lengths = [len(own) for own, _, _, _ in columns]
    raw = np.concatenate([own for own, _, _, _ in columns]).astype(np.float32)
    return RoutingTable(
        experts=experts,
        speakers=speakers,
        phonemes=phonemes,
        utterances=tuple(utterances),
        weights=raw / raw.sum(axis=1, keepdims=True),
        speaker=np.repeat([speaker for _, speaker, _, _ in columns], lengths),
        phoneme=np.concatenate([labels for _, _, labels, _ in columns]),
        utterance=np.repeat([utterance for _, _, _, utterance in columns], lengths),
    )


def _frame_phonemes(
    recognizer: Recognizer, example: Example, log_posteriors: Tensor
) -> list[str | None]:
    """The phoneme spoken in each frame; None in silence and where nobody knows."""
    num_frames = len(log_posteriors)
    if recognizer.task.kind == "classify":
        return [example.phonemes[0]] * num_frames
    if example.spans:
        centres = (np.arange(num_frames) + 0.5) * recognizer.frame_seconds
        labels: list[str | None] = [None] * num_frames
        for phoneme, start, end in example.spans:
            for frame in np.flatnonzero((centres >= start) & (centres < end)):
                labels[frame] = phoneme
        return labels
    if not example.phonemes or any(p not in recognizer.phonemes for p in example.phonemes):
        return [None] * num_frames
    return _aligned_phonemes(recognizer, example.phonemes, log_posteriors)


def _aligned_phonemes(
    recognizer: Recognizer, reference: Sequence[str], log_posteriors: Tensor
) -> list[str | None]:
    """Forced alignment; a blank between two phonemes goes to the nearer one."""
    targets = recognizer.phonemes.encode(reference)
    num_frames = len(log_posteriors)
    repeats = sum(one == other for one, other in pairwise(targets))
    if len(targets) + repeats > num_frames:
        return [None] * num_frames
    path, _ = torchaudio.functional.forced_align(
        log_posteriors[None].float(), torch.tensor([targets]), blank=BLANK
    )
    outputs = path[0].numpy()
    spoken = np.flatnonzero(outputs != BLANK)
    inside = np.arange(spoken[0], spoken[-1] + 1)
    after = np.searchsorted(spoken, inside).clip(max=len(spoken) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.where(inside - spoken[before] <= spoken[after] - inside, before, after)
    labels: list[str | None] = [None] * num_frames
    for frame, phoneme in zip(
        inside, recognizer.phonemes.decode(outputs[spoken[nearer]].tolist()), strict=True
    ):
        labels[frame] = phoneme
    return labels
