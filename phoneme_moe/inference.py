"""Batched inference: examples through the model, posteriors decoded to phonemes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phoneme_moe.data.batches import Batch, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel import shift
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.model.recognizer import Recognizer


@dataclass(frozen=True, eq=False)
class RecognizedUtterance:
    """An example with its hypothesis and the model output, without padding.

    Arrays and tensors are views of the batch and must be copied to be kept.

    Attributes:
        example: The utterance or token.
        hypothesis: Decoded phonemes.
        log_posteriors: Log posteriors of the mixture, shape (frames, outputs), on the model's
            device.
        weights: Expert weights by layer, shape (frames, experts) each, for the requested layers.
        expert_log_posteriors: Log posteriors of every expert, shape (frames, experts, outputs), on
            the model's device; None if the model does not compute them.
    """

    example: Example
    hypothesis: list[str]
    log_posteriors: Tensor
    weights: Mapping[str | None, NDArray[np.float32]]
    expert_log_posteriors: Tensor | None


def recognize_split(
    recognizer: Recognizer,
    examples: Sequence[Example],
    expert: int | None = None,
    *,
    batch_size: int = 128,
    override: RoutingOverride | None = None,
    decoding: Decoding | None = None,
    beam: int | None = None,
    layers: Sequence[str | None] = (),
) -> Iterator[RecognizedUtterance]:
    """Runs the model on a split and decodes every utterance, in order of length.

    Args:
        recognizer: The model, in evaluation mode.
        examples: At least one example.
        expert: Index of the expert for all utterances; by default the gate routes.
        batch_size: Number of examples in a batch.
        override: Replaces the routing of the gate or of the routers.
        decoding: Decoding settings; those of the recogniser by default.
        beam: Beam width, 0 for greedy decoding; that of ``decoding`` by default.
        layers: Sparse layers whose expert weights are returned; None for the gate.

    Raises:
        InputError: As ``recognize_examples``.
    """
    decoding = decoding or recognizer.decoding
    batches = recognize_examples(
        recognizer, examples, expert, batch_size, override, decoding.shifts_for(beam)
    )
    for batch, recognition in batches:
        weights = {
            layer: recognition.routing_of(layer).weights.float().cpu().numpy() for layer in layers
        }
        by_expert = recognition.expert_log_posteriors
        hypotheses = decode_phonemes(recognizer, recognition, decoding, beam)
        num_frames = recognition.num_frames.tolist()
        for row, (example, hypothesis) in enumerate(zip(batch.examples, hypotheses, strict=True)):
            real = slice(num_frames[row])
            yield RecognizedUtterance(
                example,
                hypothesis,
                recognition.log_posteriors[row, real],
                {layer: array[row, real] for layer, array in weights.items()},
                None if by_expert is None else by_expert[row, real],
            )


@torch.no_grad()
def recognize_examples(
    recognizer: Recognizer,
    examples: Sequence[Example],
    expert: int | None = None,
    batch_size: int = 128,
    override: RoutingOverride | None = None,
    num_shifts: int = 1,
) -> Iterator[tuple[Batch, Recognition]]:
    """Runs the model on examples in batches of similar length, without decoding.

    Args:
        recognizer: The model, in evaluation mode.
        examples: At least one example.
        expert: Index of the expert for all utterances; by default the gate routes.
        batch_size: Number of examples in a batch.
        override: Replaces the routing of the gate or of the routers.
        num_shifts: Passes over the input, each shifted by one more feature frame
            (``Decoding.num_shifts``); all but the first are in ``Recognition.shifted``.

    Yields:
        Each batch, on the CPU, with the model output.

    Raises:
        InputError: The gate is the speaker's identity (``kind: speaker``), and a speaker has no
            expert; or an output is not a finite number.
    """
    if recognizer.gate_is_speaker and expert is None and not (override and len(override.only) == 1):
        check_speakers_have_experts(recognizer, examples)
    experts = {name: index for index, name in enumerate(recognizer.expert_names)}
    ordered = sorted(examples, key=lambda example: len(example.features))
    for first in range(0, len(ordered), batch_size):
        batch = collate(ordered[first : first + batch_size], recognizer, experts)
        on_device = batch.to(recognizer.device)
        chosen = on_device.speaker if recognizer.gate_is_speaker and override is None else None
        if expert is not None:
            chosen = torch.full_like(on_device.speaker, expert)
        recognition, *shifted = (
            recognizer(
                *shift(on_device.features, on_device.mask, frames),
                chosen,
                embedding=on_device.embedding,
                override=override,
            )
            for frames in range(num_shifts)
        )
        for output in (recognition, *shifted):
            _check_finite(output)
        yield batch, replace(recognition, shifted=tuple(shifted))


def _check_finite(recognition: Recognition) -> None:
    """Checks the real frames.

    Raises:
        InputError: A posterior or weight is not a finite number.
    """
    for values in (recognition.log_posteriors, recognition.routing.weights):
        # The greatest of a row with something that is not a number is none, too.
        if not bool(values.amax(dim=-1)[recognition.routing.mask].isfinite().all()):
            raise InputError(
                "the model computes values that are not finite numbers: its weights are too "
                "large, from a training that diverged or a damaged file"
            )


def check_speakers_have_experts(recognizer: Recognizer, examples: Sequence[Example]) -> None:
    """Checks that all speakers have an expert, if the gate is the speaker's identity.

    Raises:
        InputError: A speaker has no expert; the message names the first one.
    """
    for example in examples:
        if example.speaker not in recognizer.expert_names:
            raise InputError(
                f"speaker {example.speaker}: model.gate is of kind speaker, and no expert has "
                f"that name: found {', '.join(recognizer.expert_names)}"
            )


def decode_phonemes(
    recognizer: Recognizer,
    recognition: Recognition,
    decoding: Decoding | None = None,
    beam: int | None = None,
) -> list[list[str]]:
    """Decodes a batch.

    Args:
        recognizer: The model, for its phoneme set.
        recognition: The model output.
        decoding: Decoding settings; those of the recogniser by default.
        beam: Beam width, 0 for greedy decoding; that of ``decoding`` by default.

    Returns:
        The hypothesis of each utterance; the most probable phoneme of a token.
    """
    log_posteriors = recognition.log_posteriors
    if recognizer.task.kind == "classify":
        return [recognizer.phonemes.decode([i]) for i in log_posteriors[:, 0].argmax(-1).tolist()]
    decoding = decoding or recognizer.decoding
    beam = decoding.beam_for(beam)
    if beam is not None:
        inputs, *shifted = (
            (output.log_posteriors.float().cpu().numpy(), output.num_frames.cpu().numpy())
            for output in (recognition, *recognition.shifted)
        )
        nbest = decoding.search(*inputs, beam, shifted=shifted)
        return [recognizer.phonemes.decode(hypotheses[0].outputs) for hypotheses in nbest]
    best = log_posteriors.argmax(dim=-1).cpu().numpy()
    phonemes = []
    for row, frames in zip(best, recognition.num_frames.tolist(), strict=True):
        path = row[:frames]
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        phonemes.append(recognizer.phonemes.decode(path[starts].tolist()))
    return phonemes
