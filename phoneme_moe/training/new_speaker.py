"""Training of a new speaker's expert, and of the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from phoneme_moe.data.batches import build_augment, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import UtteranceScore, score_utterance
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.training.expert_weights import append_expert, single_expert
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe.training.objectives import phoneme_loss

INITIAL_OFFSET = 4.0
"""Subtracted from a new expert's gate logit: it starts at 1/55 of the copied expert's weight."""

EXPERT_STEPS, GATE_STEPS = 300, 400
"""Training steps of a new expert and of the gate, whatever the number of utterances."""

BATCH_SIZE = 12
"""Utterances of the new speaker in a batch; the gate gets as many again of old speakers."""


def add_speaker_expert(run: LoadedRun, speaker: str, examples: Sequence[Example]) -> Recognizer:
    """Adds a trained expert for the speaker, whose gate weight is still small."""
    old = run.recognizer
    errors = [
        sum(score.errors for score in _scores_of_expert(old, examples, index))
        for index in range(len(old.expert_names))
    ]
    nearest = errors.index(min(errors))
    single = single_expert(old, run.recipe, nearest, speaker)
    _train_expert(single, examples, run)
    new = Recognizer(
        run.recipe.features,
        run.recipe.task,
        run.recipe.model,
        old.phonemes.symbols,
        (*old.expert_names, speaker),
    )
    append_expert(old, single, new, nearest, INITIAL_OFFSET)
    new.timing = old.timing
    return new.eval()


def _scores_of_expert(
    recognizer: Recognizer, examples: Sequence[Example], expert: int
) -> list[UtteranceScore]:
    return [
        score_utterance(utterance.example.phonemes, utterance.hypothesis)
        for utterance in recognize_split(recognizer, examples, expert)
    ]


def _train_expert(single: Recognizer, examples: Sequence[Example], run: LoadedRun) -> None:
    """Trains the new expert on its speaker's utterances."""
    # With the augmentation of the recipe's experts.
    stage = next((s for s in run.recipe.training.stages if s.route == "speaker"), None)
    stage = stage or run.recipe.training.stages[-1]
    augment = build_augment(run.recipe, stage)
    single.train()

    def loss(chosen: Tensor) -> Tensor:
        batch = collate([examples[i] for i in chosen[0].tolist()], single, {})
        features, mask = augment(batch.features, batch.mask)
        recognition = single(features, mask)
        return phoneme_loss(recognition, replace(batch, features=features, mask=mask), "recognize")

    _fit(single.parameters(), len(examples), loss, EXPERT_STEPS, 3e-4, run.recipe.seed)
    single.eval()


def train_gate(
    recognizer: Recognizer,
    examples: Sequence[Example],
    replayed: Sequence[Example],
    seed: int,
    before: Recognizer | None = None,
) -> None:
    """Trains the gate on the new and (replayed) old speakers, with frozen experts.

    Args:
        recognizer: The model, trained in place.
        examples: Utterances of the new speakers.
        replayed: Utterances of the old speakers.
        seed: Random seed of the order.
        before: The model with fewer experts, if old speech is to keep its routing: then only what
            the gate has for the added experts is trained, and the loss has the negative log weight
            of the other experts on old utterances.
    """
    assert recognizer.gate is not None
    new = [replace(e, expert_log_posteriors=_expert_posteriors(recognizer, e)) for e in examples]
    old = [replace(e, expert_log_posteriors=_expert_posteriors(recognizer, e)) for e in replayed]
    generator = torch.Generator().manual_seed(seed)
    num_added = 0 if before is None else len(recognizer.expert_names) - len(before.expert_names)

    def loss(chosen: Tensor) -> Tensor:
        batch_examples = [new[i] for i in chosen[0].tolist()]
        if old:
            drawn = torch.randint(len(old), (len(batch_examples),), generator=generator).tolist()
            batch_examples += [old[i] for i in drawn]
        batch = collate(batch_examples, recognizer, {})
        recognition = recognizer(
            batch.features, batch.mask, expert_log_posteriors=batch.expert_log_posteriors
        )
        total = phoneme_loss(recognition, batch, "recognize", "utterance")
        if old and num_added:
            routing = recognition.routing
            kept = routing.log_weights[len(chosen[0]) :, :, :-num_added].logsumexp(dim=-1)
            total = total - kept[routing.mask[len(chosen[0]) :]].mean()
        return total

    recognizer.train()
    for parameter in recognizer.parameters():
        parameter.requires_grad_(False)
    for name, parameter in recognizer.gate.named_parameters():
        if before is None:
            parameter.requires_grad_()
        elif parameter.shape != before.get_parameter(f"gate.{name}").shape:
            parameter.requires_grad_()
            is_added = torch.arange(parameter.shape[-1]) >= parameter.shape[-1] - num_added
            # torch gives the method no types.
            parameter.register_hook(is_added.mul)  # type: ignore[no-untyped-call]
    trained = [p for p in recognizer.gate.parameters() if p.requires_grad]
    _fit(trained, len(new), loss, GATE_STEPS, 2e-3, seed)
    recognizer.eval()


@torch.no_grad()
def _expert_posteriors(recognizer: Recognizer, example: Example) -> Tensor:
    """Log posteriors of every expert, shape (frames, experts, outputs)."""
    mask = torch.ones(1, len(example.features), dtype=torch.bool)
    log_posteriors: Tensor | None = recognizer(example.features[None], mask).expert_log_posteriors
    assert log_posteriors is not None
    return log_posteriors[0]


def _fit(
    parameters: Iterable[nn.Parameter],
    count: int,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    learning_rate: float,
    seed: int,
) -> None:
    batch = min(BATCH_SIZE, count)
    epochs = max(1, round(steps / -(-count // batch)))
    schedule = Schedule(epochs, learning_rate, batch, weight_decay=0.0)
    fit(parameters, [torch.arange(count)], loss, schedule, seed)
