"""Training of a new speaker's expert, and of the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.data.batches import build_augment, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.scoring import UtteranceScore, score_utterance
from phoneme_moe.features.log_mel import stack_frames
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
    single = single_expert(old, run.recipe, nearest, speaker).to(old.device)
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
    return new.to(old.device).eval()


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
        batch = collate([examples[i] for i in chosen[0].tolist()], single, {}).to(single.device)
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
        before: The model with fewer experts, if the routing of old speech is to stay: then the loss
            has ``routing_change`` on old utterances, in place of their phonemes.
    """
    assert recognizer.gate is not None
    new = [replace(e, expert_log_posteriors=_expert_posteriors(recognizer, e)) for e in examples]
    old = list(replayed)
    if before is None:
        old = [replace(e, expert_log_posteriors=_expert_posteriors(recognizer, e)) for e in old]
    generator = torch.Generator().manual_seed(seed)

    def loss(chosen: Tensor) -> Tensor:
        of_new = [new[i] for i in chosen[0].tolist()]
        of_old = []
        if old:
            drawn = torch.randint(len(old), (len(of_new),), generator=generator).tolist()
            of_old = [old[i] for i in drawn]
        if before is None:
            return _phoneme_loss(recognizer, [*of_new, *of_old])
        return _phoneme_loss(recognizer, of_new) + routing_change(before, recognizer, of_old)

    recognizer.train()
    for parameter in recognizer.parameters():
        parameter.requires_grad_(False)
    for parameter in recognizer.gate.parameters():
        parameter.requires_grad_()
    _fit(recognizer.gate.parameters(), len(new), loss, GATE_STEPS, 2e-3, seed)
    recognizer.eval()


def _phoneme_loss(recognizer: Recognizer, examples: Sequence[Example]) -> Tensor:
    """Loss of the gate on examples with the outputs of its experts."""
    batch = collate(examples, recognizer, {}).to(recognizer.device)
    recognition = recognizer(
        batch.features, batch.mask, expert_log_posteriors=batch.expert_log_posteriors
    )
    return phoneme_loss(recognition, batch, "recognize", "utterance")


def routing_change(before: Recognizer, after: Recognizer, examples: Sequence[Example]) -> Tensor:
    """Divergence of the gate's weights of old speech from those before growing.

    ``KL(before || after)``, in which added experts had no weight: it contains the log weight of all
    old experts together, and their weights relative to each other. A distillation loss on outputs
    that are to stay (learning without forgetting: Li & Hoiem 2017), here of the gate alone.

    Args:
        before: The model with fewer experts.
        after: The model with more experts, the added ones last.
        examples: Utterances of old speakers.

    Returns:
        Mean over frames, in nats.
    """
    assert before.gate is not None
    assert after.gate is not None
    batch = collate(examples, after, {}).to(after.device)
    mixed = after.mix_layers(batch.features, batch.mask)
    features, mask = stack_frames(mixed, batch.mask, after.stack)
    with torch.no_grad():
        former = before.gate.route(features, mask)
    log_weights = after.gate.route(features, mask).log_weights[..., : len(before.expert_names)]
    divergence = functional.kl_div(
        log_weights, former.log_weights, reduction="none", log_target=True
    )
    return divergence.sum(dim=-1)[former.mask].mean()


@torch.no_grad()
def _expert_posteriors(recognizer: Recognizer, example: Example) -> Tensor:
    """Log posteriors of every expert, shape (frames, experts, outputs)."""
    features = example.features[None].to(recognizer.device)
    mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    log_posteriors: Tensor | None = recognizer(features, mask).expert_log_posteriors
    assert log_posteriors is not None
    return log_posteriors[0].cpu()


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
