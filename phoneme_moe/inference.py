"""Running a recognizer over many examples, and reading phonemes off its posteriors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from phoneme_moe.data.batches import Batch, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel import shift
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.recognizer import Recognition, Recognizer


@torch.no_grad()
def recognize_examples(
    recognizer: Recognizer,
    examples: Sequence[Example],
    expert: int | None = None,
    batch_size: int = 128,
    override: RoutingOverride | None = None,
    num_shifts: int = 1,
) -> Iterator[tuple[Batch, Recognition]]:
    """Recognises examples in batches of similar length.

    Args:
        recognizer: In evaluation mode.
        examples: At least one.
        expert: Index of the expert that everything is sent to; the gate is asked when left out.
        batch_size: Examples side by side.
        override: Other experts than the gate or the routers would ask.
        num_shifts: How often each is recognised, each time a feature frame later
            (``Decoding.num_shifts``): the first as the recognition, the others as its ``shifted``.

    Yields:
        Each batch with what the model says of it, on the CPU.

    Raises:
        InputError: The gate is who speaks (``kind: speaker``), and a speaker has no expert.
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
        first, *others = (
            recognizer(
                *shift(on_device.features, on_device.mask, frames),
                chosen,
                embedding=on_device.embedding,
                override=override,
            )
            for frames in range(num_shifts)
        )
        yield batch, replace(first, shifted=tuple(others))


def check_speakers_have_experts(recognizer: Recognizer, examples: Sequence[Example]) -> None:
    """For a gate that is the speaker's identity.

    Raises:
        InputError: Names the first speaker without an expert.
    """
    for example in examples:
        if example.speaker not in recognizer.expert_names:
            raise InputError(
                f"speaker {example.speaker}: model.gate is of kind speaker, and no expert bears "
                f"that name: found {', '.join(recognizer.expert_names)}"
            )


def decode_phonemes(
    recognizer: Recognizer,
    recognition: Recognition,
    decoding: Decoding | None = None,
    beam: int | None = None,
) -> list[list[str]]:
    """The phonemes that a batch was recognised as.

    Args:
        recognizer: Says which phonemes, and whether there is a blank.
        recognition: What it said of the batch.
        decoding: How; as the recogniser's run does when left out.
        beam: Readings that a beam search keeps, 0 for the best path; as ``decoding`` says when left
            out.
    """
    log_posteriors = recognition.log_posteriors
    if recognizer.task.kind == "classify":
        return [recognizer.phonemes.decode([i]) for i in log_posteriors[:, 0].argmax(-1).tolist()]
    decoding = decoding or recognizer.decoding
    beam = decoding.beam_for(beam)
    if beam is not None:
        said, *shifted = (
            (own.log_posteriors.float().cpu().numpy(), own.num_frames.cpu().numpy())
            for own in (recognition, *recognition.shifted)
        )
        several = decoding.search(*said, beam, shifted=shifted)
        return [recognizer.phonemes.decode(found[0].outputs) for found in several]
    best = log_posteriors.argmax(dim=-1).cpu().numpy()
    phonemes = []
    for row, frames in zip(best, recognition.num_frames.tolist(), strict=True):
        path = row[:frames]
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        phonemes.append(recognizer.phonemes.decode(path[starts].tolist()))
    return phonemes
