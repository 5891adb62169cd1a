"""New experts in the sparse layers of an otherwise frozen model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from phoneme_moe.data.batches import build_augment, collate
from phoneme_moe.data.examples import Example
from phoneme_moe.decoding.ctc_crf import ORDER, Trigram
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.errors import InputError
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.system.progress import progress_bar
from phoneme_moe.training.grow import grow_weights
from phoneme_moe.training.growth_checkpoint import GrowthCheckpoint, digest_of
from phoneme_moe.training.minibatch import one_cycle, shuffled
from phoneme_moe.training.module import remaining_offset
from phoneme_moe.training.objectives import stage_loss
from phoneme_moe.training.underserved import trigram_of


def add_sparse_experts(
    run: LoadedRun,
    recipe: Recipe,
    examples: Sequence[Example],
    replayed: Sequence[Example],
    checkpoint: Path,
) -> Recognizer:
    """Adds experts to the sparse layers and trains them and their rows of the routers alone.

    Args:
        run: The trained run.
        recipe: Recipe of the grown run (``grown_recipe``), whose only stage has the settings.
        examples: Utterances for which the experts are added.
        replayed: Old utterances, as many of which are in every batch.
        checkpoint: File of an interrupted training, which is continued; written after every epoch.

    Raises:
        InputError: The layers are soft, so that every frame would get a part of a new expert, or
            the checkpoint is damaged or of another training.
    """
    old = run.recognizer
    assert old.encoder is not None
    if any(isinstance(layer, SoftFeedForward) for layer in old.encoder.sparse_layers):
        raise InputError(
            "grow: found model.encoder.sparse.router.kind: soft, which mixes a new expert into all "
            "old speech; expected linear to grow for a corpus"
        )
    new = Recognizer(
        run.recipe.features, recipe.task, recipe.model, old.phonemes.symbols, old.expert_names
    )
    grow_weights(old, new, _count_assignments(old, examples), recipe.seed)
    new.timing = old.timing
    trigram = trigram_of(run)  # the run's own, with which it decodes before and after
    if trigram is None and recipe.training.stages[-1].objective == "crf":
        sequences = [example.phonemes for example in (*examples, *replayed)]
        trigram = Trigram.from_ngram(PhonemeNgram.estimate(sequences, new.phonemes.symbols, ORDER))
    _train(new.to(old.device), old, recipe, examples, replayed, trigram, checkpoint)
    return new.eval()


def _count_assignments(recognizer: Recognizer, examples: Sequence[Example]) -> dict[str, Tensor]:
    counts: dict[str, Tensor] = {}
    for _, recognition in recognize_examples(recognizer, examples):
        for layer in recognition.layers:
            counts[layer.layer] = counts.get(layer.layer, 0) + layer.counts.cpu()
    return counts


def _freeze_old(new: Recognizer, old: Recognizer) -> dict[str, nn.Parameter]:
    """Freezes all but the rows of new experts, in place; gives the parameters with such rows."""
    before = dict(old.named_parameters())
    grown = {}
    for name, parameter in new.named_parameters():
        number = len(before[name]) if parameter.ndim else 0
        parameter.requires_grad_(parameter.shape != before[name].shape)
        if parameter.requires_grad:
            rows = parameter.new_zeros(len(parameter), *[1] * (parameter.ndim - 1))
            rows[number:] = 1
            # torch gives the method no types.
            parameter.register_hook(_masked_by(rows))  # type: ignore[no-untyped-call]
            grown[name] = parameter
    return grown


def _masked_by(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * rows


def _train(
    new: Recognizer,
    old: Recognizer,
    recipe: Recipe,
    examples: Sequence[Example],
    replayed: Sequence[Example],
    trigram: Trigram | None,
    checkpoint: Path,
) -> None:
    stage = recipe.training.stages[-1]
    assert stage.learning_rate is not None
    assert new.encoder is not None
    trained = _freeze_old(new, old)
    # Frozen parts have no dropout and routers no noise; experts as in the recipe.
    new.eval()
    for layer in new.encoder.sparse_layers:
        layer.experts.train()
    loss = _loss_function(new, recipe, trigram)
    batch_size = min(max(1, recipe.training.batch_size // 2), len(examples))
    steps = -(-len(examples) // batch_size)
    optimizer = torch.optim.AdamW(trained.values(), stage.learning_rate, weight_decay=0.0)
    scheduler = one_cycle(optimizer, stage.learning_rate, stage.epochs * steps)
    state = GrowthCheckpoint(
        checkpoint, digest_of(recipe, old, examples, replayed), trained, optimizer, scheduler
    )
    offsets = [
        (offset, offset.clone())
        for name, offset in new.named_buffers()
        if name.endswith(".offset") and bool(offset.any())
    ]
    first = state.load()
    with progress_bar("Training new experts", stage.epochs * steps) as advance:
        advance(first * steps)
        for epoch in range(first, stage.epochs):
            # Seeded, so that a resumed training equals an uninterrupted one.
            torch.manual_seed(recipe.seed * 100_000 + epoch)
            generator = torch.Generator().manual_seed(recipe.seed * 100_000 + epoch)
            order = shuffled([torch.arange(len(examples))], batch_size, generator)
            for step, (chosen,) in enumerate(order):
                remaining = remaining_offset(step, steps) if epoch == 0 else 0.0
                for offset, initial in offsets:
                    offset.copy_(initial * remaining)
                drawn = torch.randint(len(replayed), (len(chosen),), generator=generator)
                utterances = [examples[i] for i in chosen.tolist()]
                utterances += [replayed[i] for i in drawn.tolist()]
                optimizer.zero_grad()
                # torch gives the method no types.
                loss(utterances).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                scheduler.step()
                advance()
            state.save(epoch + 1)
    for offset, _ in offsets:
        offset.zero_()


def _loss_function(
    new: Recognizer, recipe: Recipe, trigram: Trigram | None
) -> Callable[[Sequence[Example]], Tensor]:
    """The loss of utterances, with the objective and augmentation of the recipe's last stage.

    Args:
        new: The model.
        recipe: Its recipe.
        trigram: N-gram for the objective ``crf``.
    """
    stage = recipe.training.stages[-1]
    augment = build_augment(recipe, stage)
    if trigram is not None:
        trigram = trigram.to(new.device)
    mixed_precision = recipe.training.precision == "bf16-mixed"

    def loss(utterances: Sequence[Example]) -> Tensor:
        batch = collate(utterances, new, {}).to(new.device)
        with torch.autocast(new.device.type, torch.bfloat16, mixed_precision):
            features, mask = augment(new.mix_layers(batch.features, batch.mask), batch.mask)
            recognition = new(features, mask, embedding=batch.embedding)
            seen = replace(batch, features=features, mask=mask)
            total = stage_loss(recognition, seen, recipe.task.kind, stage, trigram)
            for layer in recognition.layers:
                total = total + layer.loss
        return total

    return loss
