"""Growing: adding experts to the sparse layers of a trained run.

A new expert and its router weights are perturbed copies of those of an expert with a high load. Its
router score starts ``OFFSET`` lower, so that nothing is routed to it and the output is unchanged;
during the first epoch the offset decreases to 0 (``training.module``). Expert upcycling duplicates
experts in the same way; Waterhouse & Robinson (1996) grow a tree by copies with a little noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from phoneme_moe.corpora import load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.data.speakers import corpus_speakers
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.features.encoder_folder import ENCODER, copy_encoder
from phoneme_moe.files.atomic import is_temporary
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.model.front_end import pin_encoders
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.recipe.router_kinds import ROUTERS
from phoneme_moe.run_folder import LoadedRun, read_recipe, save_recipe, save_weights

START = "start.safetensors"
"""File with the initial weights of a grown run, in its folder."""

OFFSET = 30.0
"""Subtracted from a new expert's router scores, so that its relative weight is below 1e-9."""

EXPERT_NOISE = 0.02
"""Noise added to a copied weight, relative to the standard deviation of the weights."""

ROUTER_NOISE = 0.3
"""Likewise for router weights; larger, so that a copy gets different frames."""


def grown_recipe(recipe: Recipe, experts: int, epochs: int, learning_rate: float | None) -> Recipe:
    """The recipe of the grown run.

    Args:
        recipe: The recipe of the trained run.
        experts: Number of experts to add to each sparse layer (before segmentation).
        epochs: Number of epochs of further training.
        learning_rate: Peak learning rate; by default half of that of the last stage.

    Raises:
        InputError: The run has no sparse layers, or their routing does not allow growing.
    """
    sparse = None if recipe.model.encoder is None else recipe.model.encoder.sparse
    if sparse is None:
        raise InputError(
            "grow: the run has no sparse layers (model.encoder.sparse) to add experts to"
        )
    router = sparse.router
    if not ROUTERS[router.kind].grows:
        expected = " or ".join(name for name, kind in ROUTERS.items() if kind.grows)
        raise InputError(
            f"grow: found model.encoder.sparse.router.kind: {router.kind}, whose routing changes "
            f"when experts are added; expected {expected}"
        )
    if router.selection == "expert_choice":
        raise InputError(
            "grow: found model.encoder.sparse.router.selection: expert_choice, in which new "
            "experts would immediately select frames; expected top_k or balanced"
        )
    if experts < 1:
        raise ArgumentError("experts", f"found {experts}, expected at least 1")
    last = recipe.training.stages[-1]
    data = recipe.model_dump(mode="json")
    data["name"] = f"{recipe.name}_grown"
    data["model"]["encoder"]["sparse"]["num_experts"] += experts
    stage = data["training"]["stages"][-1]
    peak = last.learning_rate or 1e-3
    stage |= {
        "name": "grown",
        "route": "gate",
        "epochs": epochs,
        "learning_rate": learning_rate if learning_rate is not None else peak / 2,
    }
    data["training"]["stages"] = [stage]
    try:
        return Recipe.model_validate(data)
    except ValueError as error:
        raise InputError(f"grow: {error}") from error


def count_assignments(run: LoadedRun) -> dict[str, Tensor]:
    """Number of assignments to each expert of each sparse layer on dev, shape (experts,)."""
    corpus = load_corpus(run.recipe.corpus.name)
    speakers = corpus_speakers(run.recipe, corpus)
    examples = load_examples(run.recipe, corpus, "dev", run.recognizer, speakers)
    counts: dict[str, Tensor] = {}
    for _, recognition in recognize_examples(run.recognizer, examples):
        for layer in recognition.layers:
            total = counts.get(layer.layer, 0)
            counts[layer.layer] = total + layer.counts.cpu()
    return counts


def grow_weights(old: Recognizer, new: Recognizer, counts: Mapping[str, Tensor], seed: int) -> None:
    """Fills the larger model from the smaller one, without changing the output.

    Args:
        old: The trained model.
        new: The model with more experts, on the CPU; filled in place.
        counts: Number of assignments to each expert of ``old``, by layer.
        seed: Random seed of the perturbation.
    """
    assert old.encoder is not None
    assert new.encoder is not None
    generator = torch.Generator().manual_seed(seed)
    grown = new.encoder.sparse_layers
    # The timing net is retrained at the end.
    filled = {k: w.cpu() for k, w in old.state_dict().items() if not k.startswith("timing.")}
    for layer, target in zip(old.encoder.sparse_layers, grown, strict=True):
        number, wanted = layer.experts.num_experts, target.experts.num_experts
        busiest = counts[layer.name].argsort(descending=True, stable=True)
        parents = busiest.repeat(-(-wanted // number))[: wanted - number]
        prefix = next(name for name, part in old.named_modules() if part is layer)
        # The directions of a soft router have a column for each slot of each expert.
        columns = f"{prefix}.directions"
        for name, value in list(filled.items()):
            if not name.startswith(f"{prefix}.") or name.startswith(f"{prefix}.shared."):
                continue
            if name == columns:
                assert isinstance(layer, SoftFeedForward)
                by_expert = value.unflatten(1, (number, layer.slots)).transpose(0, 1)
                more = _copies(by_expert, parents, ROUTER_NOISE, generator)
                filled[name] = torch.cat([by_expert, more]).transpose(0, 1).flatten(1)
            elif name.endswith(".offset"):
                filled[name] = torch.cat([value, torch.full((len(parents),), OFFSET)])
            elif value.ndim and len(value) == number and ".beside." not in name:
                noise = ROUTER_NOISE if ".router." in name else EXPERT_NOISE
                noise = 0.0 if name.endswith(".bias.bias") else noise
                filled[name] = torch.cat([value, _copies(value, parents, noise, generator)])
    new.load_state_dict(filled)


def _copies(values: Tensor, parents: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    copies = values[parents]
    spread = values.std() if values.numel() > 1 else values.new_zeros(())
    return copies + noise * spread * torch.randn(copies.shape, generator=generator)


def prepare_grown(
    run: LoadedRun,
    out: Path,
    experts: int,
    epochs: int = 10,
    learning_rate: float | None = None,
) -> Recipe:
    """Creates a run folder in which training can continue (``train`` with ``resume``).

    Args:
        run: The trained run, which is not changed.
        out: The new run folder; must be missing or empty, or hold what an interrupted call with
            the same arguments left.
        experts: See ``grown_recipe``.
        epochs: See ``grown_recipe``.
        learning_rate: See ``grown_recipe``.

    Returns:
        The new recipe; its training starts from ``start.safetensors``.

    Raises:
        InputError: The run cannot grow, its encoder is gone, or the folder holds something else.
    """
    # Pinned as training does it, which otherwise takes the folder for one of another recipe.
    stored = pin_encoders(read_recipe(run.folder), run.folder)
    recipe = grown_recipe(stored, experts, epochs, learning_rate)
    with lock_folder(out):
        if not _is_prepared(out, recipe):
            _prepare(run, recipe, out)
    return recipe


def _is_prepared(out: Path, recipe: Recipe) -> bool:
    """Whether an interrupted call has prepared the folder, which otherwise must be empty."""
    if (out / "recipe.yaml").is_file():
        if read_recipe(out) == recipe:
            return True
    elif all(path.name in {START, ENCODER} or is_temporary(path) for path in out.iterdir()):
        return False
    raise ArgumentError("out", f"{out}: not empty; expected an empty or new folder")


def _prepare(run: LoadedRun, recipe: Recipe, out: Path) -> None:
    """Writes the initial weights and the recipe of the grown run."""
    old = run.recognizer.to("cpu")
    new = Recognizer(
        recipe.features, recipe.task, recipe.model, old.phonemes.symbols, old.expert_names
    )
    grow_weights(old, new, count_assignments(run), recipe.seed)
    # The recipe is written last, since a folder without one is not a run.
    copy_encoder(run.folder, out)
    save_weights(out / START, new.state_dict())
    save_recipe(out, recipe)
