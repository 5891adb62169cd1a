"""New experts in the sparse layers of an otherwise frozen model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

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
from phoneme_moe.training.grow import grow_weights
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe.training.module import remaining_offset
from phoneme_moe.training.objectives import stage_loss


def add_sparse_experts(
    run: LoadedRun, recipe: Recipe, examples: Sequence[Example], replayed: Sequence[Example]
) -> Recognizer:
    """Adds experts to the sparse layers and trains them and their rows of the routers alone.

    Args:
        run: The trained run.
        recipe: Recipe of the grown run (``grown_recipe``), whose only stage has the settings.
        examples: Utterances for which the experts are added.
        replayed: Old utterances, as many of which are in every batch.

    Raises:
        InputError: The layers are soft, so that every frame would get a part of a new expert.
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
    _train(new, old, recipe, examples, replayed)
    return new.eval()


def _count_assignments(recognizer: Recognizer, examples: Sequence[Example]) -> dict[str, Tensor]:
    counts: dict[str, Tensor] = {}
    for _, recognition in recognize_examples(recognizer, examples):
        for layer in recognition.layers:
            counts[layer.layer] = counts.get(layer.layer, 0) + layer.counts.cpu()
    return counts


def _freeze_old(new: Recognizer, old: Recognizer) -> list[nn.Parameter]:
    """Freezes all but the rows of new experts, in place; gives the parameters with such rows."""
    before = dict(old.named_parameters())
    grown = []
    for name, parameter in new.named_parameters():
        number = len(before[name]) if parameter.ndim else 0
        parameter.requires_grad_(parameter.shape != before[name].shape)
        if parameter.requires_grad:
            rows = torch.zeros(len(parameter), *[1] * (parameter.ndim - 1))
            rows[number:] = 1
            # torch gives the method no types.
            parameter.register_hook(_masked_by(rows))  # type: ignore[no-untyped-call]
            grown.append(parameter)
    return grown


def _masked_by(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * rows


def _train(
    new: Recognizer,
    old: Recognizer,
    recipe: Recipe,
    examples: Sequence[Example],
    replayed: Sequence[Example],
) -> None:
    stage = recipe.training.stages[-1]
    assert stage.learning_rate is not None
    assert new.encoder is not None
    parameters = _freeze_old(new, old)
    # Frozen parts have no dropout and routers no noise; experts as in the recipe.
    new.eval()
    for layer in new.encoder.sparse_layers:
        layer.experts.train()
    augment = build_augment(recipe, stage)
    trigram = None
    if stage.objective == "crf":
        sequences = [example.phonemes for example in (*examples, *replayed)]
        ngram = PhonemeNgram.estimate(sequences, new.phonemes.symbols, ORDER)
        trigram = Trigram.from_ngram(ngram)
    offsets = [
        (offset, offset.clone())
        for name, offset in new.named_buffers()
        if name.endswith(".offset") and bool(offset.any())
    ]
    batch_size = min(max(1, recipe.training.batch_size // 2), len(examples))
    steps_of_epoch = -(-len(examples) // batch_size)
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    step = 0

    def loss(chosen: Tensor) -> Tensor:
        nonlocal step
        for offset, initial in offsets:
            offset.copy_(initial * remaining_offset(step, steps_of_epoch))
        step += 1
        indices = chosen[0].tolist()
        drawn = torch.randint(len(replayed), (len(indices),), generator=generator).tolist()
        utterances = [*(examples[i] for i in indices), *(replayed[i] for i in drawn)]
        batch = collate(utterances, new, {})
        features, mask = augment(new.mix_layers(batch.features, batch.mask), batch.mask)
        recognition = new(features, mask, embedding=batch.embedding)
        seen = replace(batch, features=features, mask=mask)
        total = stage_loss(recognition, seen, recipe.task.kind, stage, trigram)
        return total + sum((layer.loss for layer in recognition.layers), torch.zeros(()))

    schedule = Schedule(stage.epochs, stage.learning_rate, batch_size, weight_decay=0.0)
    fit(parameters, [torch.arange(len(examples))], loss, schedule, recipe.seed)
    for offset, _ in offsets:
        offset.zero_()
