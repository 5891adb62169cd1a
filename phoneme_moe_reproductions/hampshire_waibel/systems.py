"""All systems of Table 1 on one set of tokens: training, outputs, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.training.minibatch import Schedule
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.gating import blend, gate_weights, train_meta_pi, train_speaker_gate
from phoneme_moe_reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_modular,
    train_nets,
)
from phoneme_moe_reproductions.tokens import Tokens, corpus_key, load_tokens, speaker_errors

THREE_MALES = ("ann_m1", "ann_m2", "ann_m3")
EPOCHS = 120
MODULE_EPOCHS = 360
"""Of single-speaker nets, with a sixth of the tokens in batches half as large: as many steps as a
net of all six speakers takes."""

DIGIT_EPOCHS = 60
QUICK_EPOCHS = 2


def plan(seeds: int, quick: bool, digits: bool = False) -> list[Job]:
    """One job for each seed: all systems, for three males and for six speakers."""
    corpus = corpus_key(digits, quick)
    epochs = {"epochs": EPOCHS, "module_epochs": MODULE_EPOCHS}
    if quick or digits:
        epochs = {"epochs": QUICK_EPOCHS if quick else DIGIT_EPOCHS}
    return [Job(f"seed_{s}", {"corpus": corpus, "seed": s, **epochs}) for s in range(seeds)]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains every system once.

    Returns:
        For each speaker set (``three``, ``six``) the systems with their errors; see ``compare``.
    """
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    epochs = settings["epochs"]
    lengths = epochs, settings.get("module_epochs", epochs)
    sets = {"six": (train, test)}
    if settings["corpus"] == "announcers":
        sets["three"] = train.of(THREE_MALES), test.of(THREE_MALES)
    return {name: compare(*parts, *lengths, settings["seed"]) for name, parts in sets.items()}


def compare(
    train: Tokens, test: Tokens, epochs: int, module_epochs: int, seed: int
) -> dict[str, Any]:
    """Trains all systems on the same tokens.

    Args:
        train: For training.
        test: For everything that is reported.
        epochs: Of every training except that of modules.
        module_epochs: Of single-speaker nets.
        seed: Of initial weights and order.

    Returns:
        ``systems``: error in per cent (all, by speaker) and connections of each; ``matrix``: error
        of each module (rows) on each speaker; ``weights``: mean weight of each module (columns) for
        each speaker (rows), of Meta-Pi and of SID; ``only``: tokens that one of these two has right
        and the other wrong; ``speaker_rate``: accuracy of the SID gate on speakers, in per cent.
    """
    alone, together = Schedule(module_epochs), Schedule(epochs, batch_size=64)
    pool, speakers = one_group(train), len(train.speakers)
    systems: dict[str, dict[str, Any]] = {}
    right: dict[str, Tensor] = {}

    def add(name: str, outputs: Tensor, connections: int) -> None:
        right[name] = outputs.argmax(dim=-1) == test.phoneme
        systems[name] = {
            "all": float((100 * (~right[name]).float()).mean()),
            "by_speaker": speaker_errors(outputs, test),
            "connections": connections,
        }

    pooled = train_nets(train, pool, together, seed)
    pooled_outputs = outputs_of(pooled, test.features)[0]  # (O, N, P)
    for number, objective in enumerate(OBJECTIVES):
        add(f"TDNN, {objective}", pooled_outputs[number], pooled.num_connections)
    add("Multiple TDNN", arbitrate(pooled_outputs, 0), len(OBJECTIVES) * pooled.num_connections)
    for plies, name in ((1, "FSTDNN, one ply"), (2, "FSTDNN, two plies")):
        fstdnn = train_nets(train, pool, together, seed, ("mse",), plies)
        add(name, outputs_of(fstdnn, test.features, ("mse",))[0, 0], fstdnn.num_connections)

    modules = train_nets(train, by_speaker(train), alone, seed)
    outputs_train = outputs_of(modules, train.features)  # (K, O, N, P)
    outputs_test = outputs_of(modules, test.features)
    arbitrated = arbitrate(outputs_test, 1)  # (K, N, P)
    module_size = len(OBJECTIVES) * modules.num_connections
    token = torch.arange(len(test))
    add("own module", arbitrated[test.speaker, token], module_size)
    add("own net, mse", outputs_test[test.speaker, 0, token], modules.num_connections)

    first_nets = [k * len(OBJECTIVES) for k in range(speakers)]
    joined = train_modular(train, modules, first_nets, together, seed)
    with torch.no_grad():
        add("Modular TDNN", joined(test.features[None], None), joined.num_connections)

    gate = train_speaker_gate(train, together, seed)
    size = speakers * module_size + len(OBJECTIVES) * gate.num_connections
    speaker_weights = arbitrate(gate_weights(gate, test.features, "sigmoid")[0], 0)  # (N, K)
    add("SID", torch.einsum("nk,knp->np", speaker_weights, arbitrated), size)
    weights = {"SID": by_true_speaker(speaker_weights, test)}
    for activation, name in (("softmax", "Meta-Pi"), ("sigmoid", "Meta-Pi, raw sigmoids")):
        gate = train_meta_pi(train, outputs_train, together, seed, activation)
        module_weights = gate_weights(gate, test.features, activation)[0]  # (O, N, K)
        add(name, arbitrate(blend(module_weights, outputs_test), 0), size)
        weights[name] = by_true_speaker(module_weights.mean(dim=0), test)
    return {
        "speakers": list(test.speakers),
        "systems": systems,
        "matrix": [list(speaker_errors(outputs, test).values()) for outputs in arbitrated],
        "weights": weights,
        "only": {
            "Meta-Pi": int((right["Meta-Pi"] & ~right["SID"]).sum()),
            "SID": int((right["SID"] & ~right["Meta-Pi"]).sum()),
        },
        "speaker_rate": 100
        * float((speaker_weights.argmax(dim=-1) == test.speaker).float().mean()),
        "tokens": {"train": len(train), "test": len(test)},
    }


def by_true_speaker(weights: Tensor, tokens: Tokens) -> list[list[float]]:
    """Mean weight of each module, a row for each speaker.

    Args:
        weights: Shape (tokens, modules).
        tokens: The tokens.
    """
    count = range(len(tokens.speakers))
    return [weights[tokens.speaker == number].mean(dim=0).tolist() for number in count]
