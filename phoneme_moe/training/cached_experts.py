"""What frozen experts say, computed once.

A stage that trains only the gate, without augmentation, would ask the same experts about the same
features in every epoch. They are asked once instead, and their posteriors travel with the example.
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
"""Memory that kept posteriors may take; where they need more, experts are asked in every step."""


def experts_repeat_themselves(stage: Stage, recipe: Recipe) -> bool:
    """Whether a stage's experts would say the same of an utterance in every epoch."""
    changed = recipe.training.augmentation_of(stage) != Augmentation()
    return stage.train == ("gate",) and not changed


def posteriors_fit(examples: Sequence[Example], recognizer: Recognizer) -> bool:
    """Whether the experts' posteriors of all examples can be kept in memory."""
    frames = sum(len(example.features) for example in examples) / recognizer.stack
    if recognizer.task.kind == "classify":
        frames = len(examples)
    outputs = len(recognizer.expert_names) * recognizer.phonemes.num_outputs
    return frames * outputs * 4 <= LARGEST_BYTES


def with_expert_posteriors(
    examples: Sequence[Example], recognizer: Recognizer
) -> tuple[Example, ...]:
    """The same examples with what every expert says of them.

    Args:
        examples: At least one.
        recognizer: Its experts no longer learn. It is left in the mode it was in.
    """
    was_training = recognizer.training
    recognizer.eval()
    kept = {}
    for batch, recognition in recognize_examples(recognizer, examples):
        assert recognition.expert_log_posteriors is not None
        lengths = recognition.routing.mask.sum(dim=1).tolist()
        for row, example in enumerate(batch.examples):
            posteriors = recognition.expert_log_posteriors[row, : lengths[row]]
            # Cloned: a view would keep the whole padded batch alive.
            kept[example.utterance] = replace(
                example, expert_log_posteriors=posteriors.to("cpu", torch.float32).clone()
            )
    recognizer.train(was_training)
    return tuple(kept[example.utterance] for example in examples)
