"""Teaching a mixture a new speaker: an expert of his own, and a gate that asks whom it should."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import UtteranceScore, score_utterance
from phoneme_moe.features.augmentation import Augment
from phoneme_moe.inference import recognize_split
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Model
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe.training.objectives import phoneme_loss

HELD_BACK = 4.0
"""Taken off the gate's score of a new expert at first: it has a fiftieth of its model's weight."""

EXPERT_STEPS, GATE_STEPS = 300, 400
"""Steps of a new expert and of the gate, however many utterances there are."""

SIDE_BY_SIDE = 12
"""Utterances of the new speaker in a step, and as many of old ones where the gate learns."""


def with_new_expert(run: LoadedRun, speaker: str, learned: Sequence[Example]) -> Recognizer:
    """The recogniser with an expert more, trained, which the gate hardly asks yet."""
    old = run.recognizer
    with torch.no_grad():
        errors = [
            sum(score.errors for score in _scores_of_expert(old, learned, index))
            for index in range(len(old.expert_names))
        ]
    nearest = errors.index(min(errors))
    sections = run.recipe.features, run.recipe.task
    lone = Recognizer(
        *sections, Model(expert=run.recipe.model.expert), old.phonemes.symbols, (speaker,)
    )
    of_all = dict(old.named_parameters())
    with torch.no_grad():
        for name, own in lone.named_parameters():
            own.copy_(of_all[name][nearest : nearest + 1])
    _teach_expert(lone, learned, run)
    new = Recognizer(
        *sections, run.recipe.model, old.phonemes.symbols, (*old.expert_names, speaker)
    )
    of_lone = dict(lone.named_parameters())
    with torch.no_grad():
        for name, own in new.named_parameters():
            before = of_all[name]
            if name in of_lone:
                own.copy_(torch.cat([before, of_lone[name]]))
            elif own.shape == before.shape:
                own.copy_(before)
            else:  # the gate's last layer: a column for each expert
                own.copy_(torch.cat([before, before[..., nearest : nearest + 1]], dim=-1))
                if name.endswith("bias"):
                    own[..., -1] -= HELD_BACK
    new.timing = old.timing
    return new.eval()


def _scores_of_expert(
    recognizer: Recognizer, examples: Sequence[Example], expert: int
) -> list[UtteranceScore]:
    return [
        score_utterance(utterance.example.phonemes, utterance.hypothesis)
        for utterance in recognize_split(recognizer, examples, expert)
    ]


def _teach_expert(lone: Recognizer, learned: Sequence[Example], run: LoadedRun) -> None:
    """Trains the new expert on its speaker's utterances."""
    # As experts of the recipe are trained, with the changes they are trained with.
    stage = next((s for s in run.recipe.training.stages if s.route == "speaker"), None)
    stage = stage or run.recipe.training.stages[-1]
    changes = run.recipe.training.augmentation_of(stage)
    augment = Augment(
        **changes.model_dump(exclude={"time_mask_ms"}),
        time_mask_frames=round(changes.time_mask_ms / 1000 / lone.log_mel.frame_seconds),
    )
    lone.train()

    def loss(chosen: Tensor) -> Tensor:
        batch = collate([learned[i] for i in chosen[0].tolist()], lone, {})
        features, mask = augment(batch.features, batch.mask)
        said = lone(features, mask)
        return phoneme_loss(said, replace(batch, features=features, mask=mask), "recognize")

    _fit(lone.parameters(), len(learned), loss, EXPERT_STEPS, 3e-4, run.recipe.seed)
    lone.eval()


def teach_gate(
    recognizer: Recognizer, learned: Sequence[Example], old: Sequence[Example], seed: int
) -> None:
    """Trains the gate on the new speaker, beside old ones; experts stay as they are."""
    assert recognizer.gate is not None
    known = [replace(e, expert_log_posteriors=_of_experts(recognizer, e)) for e in learned]
    again = [replace(e, expert_log_posteriors=_of_experts(recognizer, e)) for e in old]
    generator = torch.Generator().manual_seed(seed)

    def loss(chosen: Tensor) -> Tensor:
        own = [known[i] for i in chosen[0].tolist()]
        if again:
            drawn = torch.randint(len(again), (len(own),), generator=generator).tolist()
            own += [again[i] for i in drawn]
        batch = collate(own, recognizer, {})
        said = recognizer(
            batch.features, batch.mask, expert_log_posteriors=batch.expert_log_posteriors
        )
        return phoneme_loss(said, batch, "recognize", "utterance")

    recognizer.train()
    for parameter in recognizer.parameters():
        parameter.requires_grad_(False)
    for parameter in recognizer.gate.parameters():
        parameter.requires_grad_()
    _fit(recognizer.gate.parameters(), len(known), loss, GATE_STEPS, 2e-3, seed)
    recognizer.eval()


@torch.no_grad()
def _of_experts(recognizer: Recognizer, example: Example) -> Tensor:
    """What every expert says, shape (frames, experts, outputs)."""
    mask = torch.ones(1, len(example.features), dtype=torch.bool)
    said: Tensor | None = recognizer(example.features[None], mask).expert_log_posteriors
    assert said is not None
    return said[0]


def _fit(
    parameters: Iterable[nn.Parameter],
    count: int,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    learning_rate: float,
    seed: int,
) -> None:
    batch = min(SIDE_BY_SIDE, count)
    epochs = max(1, round(steps / -(-count // batch)))
    schedule = Schedule(epochs, learning_rate, batch, weight_decay=0.0)
    fit(parameters, [torch.arange(count)], loss, schedule, seed)
