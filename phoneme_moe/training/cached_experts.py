"""Caching of the posteriors of frozen experts.

A stage that trains only the gate, without augmentation, would compute the same expert posteriors in
every epoch. They are computed once instead and kept with the example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from phoneme_moe.data.examples import Example
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Augmentation, Recipe, Stage

LARGEST_BYTES = 2 << 30
"""Memory limit of cached posteriors; above it, experts are computed in every step."""


def expert_posteriors_are_constant(stage: Stage, recipe: Recipe) -> bool:
    """Whether a stage's experts give an utterance the same posteriors in every epoch."""
    training = recipe.training
    augmented = training.augmentation_of(stage) != Augmentation() or bool(training.sound_speeds)
    # Adapters change what is below the posteriors, and are mixed there.
    mixes_posteriors = recipe.model.adapters is None
    return stage.train == ("gate",) and not augmented and mixes_posteriors


def posteriors_fit_in_memory(examples: Sequence[Example], recognizer: Recognizer) -> bool:
    """Whether the experts' posteriors of all examples can be kept in memory."""
    frames = sum(len(example.features) for example in examples) / recognizer.stack
    if recognizer.task.kind == "classify":
        frames = len(examples)
    outputs = len(recognizer.expert_names) * recognizer.phonemes.num_outputs
    return frames * outputs * 4 <= LARGEST_BYTES


def with_expert_posteriors(
    examples: Sequence[Example], recognizer: Recognizer
) -> tuple[Example, ...]:
    """The same examples with the log posteriors of every expert.

    Args:
        examples: Examples, at least one.
        recognizer: Model with frozen experts; its mode (training or evaluation) is restored.
    """
    was_training = recognizer.training
    recognizer.eval()
    cached = {}
    for batch, recognition in recognize_examples(recognizer, examples):
        assert recognition.expert_log_posteriors is not None
        lengths = recognition.routing.mask.sum(dim=1).tolist()
        for row, example in enumerate(batch.examples):
            posteriors = recognition.expert_log_posteriors[row, : lengths[row]]
            # Cloned, since a view would keep the whole padded batch in memory.
            cached[example.utterance] = replace(
                example, expert_log_posteriors=posteriors.to("cpu", torch.float32).clone()
            )
    recognizer.train(was_training)
    return tuple(cached[example.utterance] for example in examples)
