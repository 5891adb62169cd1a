"""Learning from a pretrained encoder or from another run, beside the reference phonemes.

Legend: B batch, T frames, H hidden size of the teacher, W width of the model, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.batches import TEACHER_SECONDS
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import WEIGHTS, load_run
from phoneme_moe.system.ranks import global_mean

NUM_EXAMPLES = 200
"""Examples from which mean and variance of the hidden states are estimated."""


class TeacherLoss(Protocol):
    """How far a model is from its teacher."""

    def loss(self, recognition: Recognition, teacher: Tensor) -> Tensor:
        """The loss of a batch, a mean over real frames.

        Args:
            recognition: Output of the model.
            teacher: Targets, shape (batch, frames, size), zero where masked.
        """
        ...


class HiddenStateTeacher(nn.Module):
    """Prediction of a pretrained encoder's hidden states by a linear map of the last block.

    The states are standardised in each dimension, since a few dimensions of such encoders have
    values far above all others.
    """

    def __init__(self, width: int, examples: Sequence[Example]) -> None:
        """Estimates mean and variance of the states; the map starts at random.

        Args:
            width: Channels of the model's last block.
            examples: Training examples with hidden states of the teacher.
        """
        super().__init__()
        step = max(1, len(examples) // NUM_EXAMPLES)
        chosen = [e.teacher.float() for e in examples[::step] if e.teacher is not None]
        states = torch.cat(chosen)
        self.mean = nn.Buffer(states.mean(dim=0))
        self.scale = nn.Buffer(states.std(dim=0).clamp_min(1e-3))
        self.predict = nn.Linear(width, states.shape[1])

    def loss(self, recognition: Recognition, teacher: Tensor) -> Tensor:
        """Smooth L1 error of the standardised states; see ``TeacherLoss``."""
        assert recognition.hidden is not None
        target = (teacher - self.mean) / self.scale
        error = functional.smooth_l1_loss(
            self.predict(recognition.hidden).float(), target.clamp(-5, 5), reduction="none"
        )
        return global_mean(error[recognition.routing.mask].flatten())


class PosteriorTeacher(nn.Module):
    """Cross-entropy between a run's posteriors and the model's, in nats per frame."""

    def loss(self, recognition: Recognition, teacher: Tensor) -> Tensor:
        """The cross-entropy (Hinton et al. 2015, temperature 1); see ``TeacherLoss``."""
        by_frame = -(teacher * recognition.log_posteriors.float()).sum(dim=-1)
        return global_mean(by_frame[recognition.routing.mask])


def with_posteriors(
    examples: Sequence[Example],
    recipe: Recipe,
    corpus: PreparedCorpus,
    recognizer: Recognizer,
    speakers: Sequence[str],
) -> list[Example]:
    """Adds the posteriors of the recipe's teacher run to training examples.

    Args:
        examples: The examples of the split ``train``.
        recipe: Recipe of the model that learns; its teacher is a run.
        corpus: Its corpus.
        recognizer: The model that learns.
        speakers: Speakers of the examples.

    Raises:
        InputError: The run cannot be used, has other phonemes, or frames of another length.
    """
    section = recipe.training.teacher
    assert section is not None
    assert section.run is not None
    folder = Path(section.run)
    teacher = load_run(folder)
    found = hash_file(folder / WEIGHTS)
    if section.sha256 not in {None, found}:
        raise InputError(
            f"{folder / WEIGHTS}: SHA-256: found {found}, expected {section.sha256} "
            "(training.teacher.sha256)"
        )
    if teacher.recognizer.phonemes.symbols != recognizer.phonemes.symbols:
        raise InputError(
            f"training.teacher.run: {folder} has {len(teacher.recognizer.phonemes.symbols)} "
            "phonemes, expected those of the model, in the same order"
        )
    seconds = teacher.recognizer.frame_seconds, recognizer.frame_seconds
    if abs(seconds[0] - seconds[1]) > 1e-9:
        raise InputError(
            f"training.teacher.run: {folder} has frames of {1000 * seconds[0]:g} ms, expected "
            f"{1000 * seconds[1]:g} ms as the model"
        )
    its_recipe = recipe.model_copy(update={"features": teacher.recipe.features})
    inputs = load_examples(its_recipe, corpus, "train", teacher.recognizer, speakers)
    repeats = round(seconds[1] / TEACHER_SECONDS)
    posteriors: dict[str, Tensor] = {}
    for batch, recognition in recognize_examples(teacher.recognizer, inputs, batch_size=32):
        lengths = recognition.num_frames.tolist()
        for row, example in enumerate(batch.examples):
            rows = recognition.log_posteriors[row, : lengths[row]].exp().to(torch.float16).cpu()
            posteriors[example.utterance] = rows.repeat_interleave(repeats, dim=0)
    return [
        replace(example, teacher=posteriors[example.utterance])
        for example in examples
        if example.utterance in posteriors
    ]
