"""All systems of Table 1 on one set of tokens: training, answers, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.gating import blend, gate_weights, train_meta_pi, train_speaker_gate
from phoneme_moe.reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_modular,
    train_nets,
)
from phoneme_moe.reproductions.tokens import Tokens, load_tokens
from phoneme_moe.training.minibatch import Schedule

THREE_MALES = ("ann_m1", "ann_m2", "ann_m3")
EPOCHS = 120
MODULE_EPOCHS = 360
"""Of the nets of one speaker, who has a sixth of the tokens, in batches half as large: as many
steps as a net of all six speakers takes."""

DIGIT_EPOCHS = 60
QUICK_EPOCHS = 2


def plan(seeds: int, quick: bool, corpus: str = "announcers") -> list[Job]:
    """One job for each seed: all systems, for three males and for six speakers."""
    jobs = []
    for seed in range(seeds):
        settings: dict[str, Any] = {"corpus": corpus, "seed": seed}
        if quick:
            settings["epochs"] = QUICK_EPOCHS
        elif corpus == "announcers":
            settings |= {"epochs": EPOCHS, "module_epochs": MODULE_EPOCHS}
        else:
            settings["epochs"] = DIGIT_EPOCHS
        jobs.append(Job(f"seed_{seed}", settings))
    return jobs


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains every system once.

    Returns:
        For each speaker set (``three``, ``six``) the systems with their errors; see ``compare``.
    """
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    epochs = settings["epochs"]
    lengths = epochs, settings.get("module_epochs", epochs)
    found = {"six": compare(train, test, *lengths, settings["seed"])}
    if settings["corpus"] == "announcers":
        found["three"] = compare(
            train.of(THREE_MALES), test.of(THREE_MALES), *lengths, settings["seed"]
        )
    return found


def compare(
    train: Tokens, test: Tokens, epochs: int, module_epochs: int, seed: int
) -> dict[str, Any]:
    """Trains all systems on the same tokens.

    Args:
        train: For training.
        test: For everything that is reported.
        epochs: Of every training but that of modules.
        module_epochs: Of the nets of one speaker each.
        seed: Of initial weights and order.

    Returns:
        ``systems``: error in per cent (all, by speaker) and connections of each; ``matrix``: error
        of each module (rows) on each speaker; ``weights``: mean weight of each module (columns) for
        each speaker (rows), of Meta-Pi and of SID; ``only``: tokens that one of these two has right
        and the other wrong; ``speaker_rate``: how often the SID gate names the speaker.
    """
    alone, together = Schedule(module_epochs), Schedule(epochs, batch_size=64)
    pool, speakers = one_group(train), len(train.speakers)
    systems: dict[str, dict[str, Any]] = {}
    right: dict[str, Tensor] = {}

    def enter(name: str, said: Tensor, connections: int) -> None:
        right[name] = said.argmax(dim=-1) == test.phoneme
        systems[name] = {**errors(right[name], test), "connections": connections}

    pooled = train_nets(train, pool, together, seed)
    answers = outputs_of(pooled, test.features)[0]  # (O, N, P)
    for number, objective in enumerate(OBJECTIVES):
        enter(f"TDNN, {objective}", answers[number], pooled.num_connections)
    enter("Multiple TDNN", arbitrate(answers, 0), len(OBJECTIVES) * pooled.num_connections)
    for plies, name in ((1, "FSTDNN, one ply"), (2, "FSTDNN, two plies")):
        shifted = train_nets(train, pool, together, seed, ("mse",), plies)
        enter(name, outputs_of(shifted, test.features, ("mse",))[0, 0], shifted.num_connections)

    modules = train_nets(train, by_speaker(train), alone, seed)
    training_answers = outputs_of(modules, train.features)  # (K, O, N, P)
    answers = outputs_of(modules, test.features)
    said = arbitrate(answers, 1)  # (K, N, P)
    module_size = len(OBJECTIVES) * modules.num_connections
    own = said[test.speaker, torch.arange(len(test))]
    enter("own module", own, module_size)
    enter(
        "own net, mse", answers[test.speaker, 0, torch.arange(len(test))], modules.num_connections
    )

    first_nets = [k * len(OBJECTIVES) for k in range(speakers)]
    joined = train_modular(train, modules, first_nets, together, seed)
    with torch.no_grad():
        enter("Modular TDNN", joined(test.features[None], None), joined.num_connections)

    gate = train_speaker_gate(train, together, seed)
    size = speakers * module_size + len(OBJECTIVES) * gate.num_connections
    named = arbitrate(gate_weights(gate, test.features, "sigmoid")[0], 0)  # (N, K)
    enter("SID", torch.einsum("nk,knp->np", named, said), size)
    weights = {"SID": by_true_speaker(named, test)}
    for activation, name in (("softmax", "Meta-Pi"), ("sigmoid", "Meta-Pi, raw sigmoids")):
        gate = train_meta_pi(train, training_answers, together, seed, activation)
        asked = gate_weights(gate, test.features, activation)[0]  # (O, N, K)
        enter(name, arbitrate(blend(asked, answers), 0), size)
        weights[name] = by_true_speaker(asked.mean(dim=0), test)
    return {
        "speakers": list(test.speakers),
        "systems": systems,
        "matrix": [
            list(errors(answer.argmax(dim=-1) == test.phoneme, test)["by_speaker"].values())
            for answer in said
        ],
        "weights": weights,
        "only": {
            "Meta-Pi": int((right["Meta-Pi"] & ~right["SID"]).sum()),
            "SID": int((right["SID"] & ~right["Meta-Pi"]).sum()),
        },
        "speaker_rate": 100 * float((named.argmax(dim=-1) == test.speaker).float().mean()),
        "tokens": {"train": len(train), "test": len(test)},
    }


def errors(right: Tensor, tokens: Tokens) -> dict[str, Any]:
    """Error in per cent, of all tokens and of each speaker's.

    Args:
        right: Shape (tokens,).
        tokens: Whose tokens they are.
    """
    wrong = 100 * (~right).float()
    return {
        "all": float(wrong.mean()),
        "by_speaker": {
            name: float(wrong[tokens.speaker == number].mean())
            for number, name in enumerate(tokens.speakers)
        },
    }


def by_true_speaker(weights: Tensor, tokens: Tokens) -> list[list[float]]:
    """Mean weight of each module, a row for each speaker.

    Args:
        weights: Shape (tokens, modules).
        tokens: Whose tokens they are.
    """
    count = range(len(tokens.speakers))
    return [weights[tokens.speaker == number].mean(dim=0).tolist() for number in count]
