"""Extracting, duplicating and adding experts of a model.

The experts of a part share parameter tensors whose first dimension is the expert
(``mixture.networks``), so an expert is a row of every parameter.
"""

from __future__ import annotations

import torch

from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Model, Recipe, Router, Sparse


def single_expert(
    recognizer: Recognizer, recipe: Recipe, index: int = 0, name: str = "shared"
) -> Recognizer:
    """A model of a single expert without a gate, with a copy of that expert's weights.

    In an encoder, every sparse layer then has one expert.

    Args:
        recognizer: The model with all experts.
        recipe: Its recipe.
        index: Index of the expert to copy.
        name: Name of the copy.
    """
    model = Model(expert=recipe.model.expert)
    encoder, adapters = recipe.model.encoder, recipe.model.adapters
    if adapters is not None:
        one_adapter = adapters.model_copy(update={"num_experts": 1})
        model = recipe.model.model_copy(update={"adapters": one_adapter})
    elif encoder is not None:
        assert encoder.sparse is not None
        one = Sparse(
            every=encoder.sparse.every,
            num_experts=1,
            hidden=encoder.sparse.hidden,
            router=Router(kind="hash", top_k=1),
        )
        model = Model(encoder=encoder.model_copy(update={"sparse": one}))
    single = Recognizer(recipe.features, recipe.task, model, recognizer.phonemes.symbols, (name,))
    source = dict(recognizer.named_parameters())
    with torch.no_grad():
        for key, weight in single.named_parameters():
            other = source[key]
            same = weight.shape == other.shape
            weight.copy_(other if same else other[index : index + 1])
    return single


@torch.no_grad()
def copy_to_all_experts(single: Recognizer, recognizer: Recognizer) -> None:
    """Makes every expert a copy of the single one, and copies the other parameters.

    Routers keep their weights, since the single-expert model has none (sparse upcycling:
    Komatsuzaki et al. 2023).
    """
    target = dict(recognizer.named_parameters())
    for name, weight in single.named_parameters():
        target[name].copy_(weight.expand_as(target[name]))


@torch.no_grad()
def append_expert(
    old: Recognizer, single: Recognizer, new: Recognizer, like: int, offset: float
) -> None:
    """Fills a model that has one more expert behind its gate, in place.

    Args:
        old: The model without the new expert.
        single: The new expert, as returned by ``single_expert``.
        new: The model to fill; the new expert is the last.
        like: Index of the expert whose gate output is copied for the new one.
        offset: Value subtracted from the bias of that output.
    """
    before, added = dict(old.named_parameters()), dict(single.named_parameters())
    for name, weight in new.named_parameters():
        if name in added:
            weight.copy_(torch.cat([before[name], added[name]]))
        elif weight.shape == before[name].shape:
            weight.copy_(before[name])
        else:  # the gate's last layer has a column for each expert
            column = before[name][..., like : like + 1]
            weight.copy_(torch.cat([before[name], column], dim=-1))
            if name.endswith("bias"):
                weight[..., -1] -= offset
