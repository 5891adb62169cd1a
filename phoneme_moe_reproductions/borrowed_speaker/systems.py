"""Gates over all modules, and over all except the speaker's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.training.minibatch import Schedule
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe_reproductions.multi_speaker import (
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_nets,
)
from phoneme_moe_reproductions.tokens import Tokens, corpus_key, load_tokens, speaker_errors

EPOCHS = 120
GATE_EPOCHS = 60
EARLY_EPOCHS, EARLY_GATE_EPOCHS = 40, 20
"""Of undertrained modules, and of gates over them."""

DIGIT_EPOCHS = [60, 30], [20, 10]
"""The same for real digits, which have more tokens and phonemes: of modules and gates, fully and
undertrained."""

QUICK_EPOCHS = 1


@dataclass(frozen=True)
class Configuration:
    """Training of a gate over all modules.

    Attributes:
        activation: A name of ``gating.ACTIVATIONS``.
        learning_rate: At its peak.
    """

    activation: str
    learning_rate: float

    def __str__(self) -> str:
        return f"{self.activation}, rate {self.learning_rate:g}"


CONFIGURATIONS = (
    Configuration("softmax", 0.1),
    Configuration("softmax", 0.01),
    Configuration("softmax", 0.002),
    Configuration("sigmoid", 0.1),
    Configuration("sigmoid", 0.01),
    Configuration("sigmoid", 0.002),
)


def plan(seeds: int, quick: bool, digits: bool = False) -> list[Job]:
    """Two jobs for each seed: with fully trained and with undertrained modules."""
    full, early = [EPOCHS, GATE_EPOCHS], [EARLY_EPOCHS, EARLY_GATE_EPOCHS]
    if quick:
        full = early = [QUICK_EPOCHS] * 2
    elif digits:
        full, early = DIGIT_EPOCHS
    jobs = []
    for seed in range(seeds):
        settings = {"corpus": corpus_key(digits, quick), "seed": seed}
        jobs.append(Job(f"seed_{seed}", {**settings, "epochs": full}))
        jobs.append(Job(f"early_seed_{seed}", {**settings, "epochs": early, "early": True}))
    return jobs


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains modules and gates over them; see ``remove_modules`` and ``unrestricted_gates``."""
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    (epochs, gate_epochs), seed = settings["epochs"], settings["seed"]
    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    outputs_train, outputs_test = (outputs_of(modules, part.features) for part in (train, test))
    parts = train, test, outputs_train, outputs_test, gate_epochs, seed
    configurations = unrestricted_gates(*parts)
    if settings.get("early"):
        return {"configurations": configurations, "own": matched_errors(outputs_test, test)}
    return remove_modules(*parts) | {"configurations": configurations}


def matched_errors(outputs: Tensor, test: Tokens) -> dict[str, float]:
    """Error in per cent of each speaker by the speaker's own module.

    Args:
        outputs: Of all modules, shape (modules, objectives, tokens, classes).
        test: The tokens.
    """
    arbitrated = arbitrate(outputs, 1)  # (K, N, P)
    return speaker_errors(arbitrated[test.speaker, torch.arange(len(test))], test)


def unrestricted_gates(
    train: Tokens, test: Tokens, outputs_train: Tensor, outputs_test: Tensor, epochs: int, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Gates over all modules, by configuration: ``errors`` and ``own_share`` of every speaker.

    ``own_share`` is the mean weight of the speaker's own module, 0..1. Arguments as of
    ``remove_modules``.
    """
    by_configuration = {}
    for configuration in CONFIGURATIONS:
        schedule = Schedule(epochs, configuration.learning_rate, batch_size=64)
        gate = train_meta_pi(train, outputs_train, schedule, seed, configuration.activation)
        weights = gate_weights(gate, test.features, configuration.activation)[0]  # (O, N, K)
        errors = speaker_errors(arbitrate(blend(weights, outputs_test), 0), test)
        shares = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        by_configuration[str(configuration)] = {
            "errors": errors,
            "own_share": _matched_weight(shares.mean(dim=0), test),
        }
    return by_configuration


def remove_modules(
    train: Tokens, test: Tokens, outputs_train: Tensor, outputs_test: Tensor, epochs: int, seed: int
) -> dict[str, Any]:
    """Removes each speaker's module in turn and trains a gate over the others.

    Args:
        train: For training. Every gate is trained on all speakers, the one without module too.
        test: For everything that is reported.
        outputs_train: Of the modules on the training tokens, shape (modules, objectives, tokens,
            classes).
        outputs_test: Of the modules on the test tokens.
        epochs: Of the gates.
        seed: Of initial weights and order.

    Returns:
        By speaker, errors in per cent: ``own`` (the speaker's module alone), ``without`` (a gate
        over the others'), ``others`` (the other speakers' error under that gate), ``best_other``
        (the best single module of another speaker); ``blend``: mean weights of the modules that
        replace the speaker's.
    """
    speakers = train.speakers
    count = len(speakers)
    alone = torch.tensor(
        [list(speaker_errors(scores, test).values()) for scores in arbitrate(outputs_test, 1)]
    )  # (modules, speakers)
    others = ~torch.eye(count, dtype=torch.bool)
    gates = train_meta_pi(
        train,
        outputs_train,
        Schedule(epochs, batch_size=64),
        seed,
        groups=one_group(train) * count,
        allowed=others,
    )
    weights = gate_weights(gates, test.features, allowed=others)
    without = [
        list(speaker_errors(scores, test).values())
        for scores in arbitrate(blend(weights, outputs_test), 1)
    ]
    mean_weights = weights.mean(dim=1)  # (removed, N, K)
    return {
        "speakers": list(speakers),
        "own": matched_errors(outputs_test, test),
        "without": {name: without[k][k] for k, name in enumerate(speakers)},
        "others": {
            name: sum(e for j, e in enumerate(without[k]) if j != k) / (count - 1)
            for k, name in enumerate(speakers)
        },
        "best_other": {name: float(alone[others[k], k].min()) for k, name in enumerate(speakers)},
        "blend": [mean_weights[k][test.speaker == k].mean(dim=0).tolist() for k in range(count)],
    }


def _matched_weight(weights: Tensor, tokens: Tokens) -> dict[str, float]:
    """Mean weight of each speaker's own module on the speaker's tokens, 0..1."""
    matched = weights[torch.arange(len(tokens)), tokens.speaker]
    return {
        name: float(matched[tokens.speaker == k].mean()) for k, name in enumerate(tokens.speakers)
    }
