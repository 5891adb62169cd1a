"""Gates over all modules, and over all but a speaker's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.reproduce.experiment import Job
from phoneme_moe.reproduce.fitting import Schedule
from phoneme_moe.reproduce.gating import blend, gate_weights, train_meta_pi
from phoneme_moe.reproduce.multi_speaker import (
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_nets,
)
from phoneme_moe.reproduce.tokens import Tokens, load_tokens, speaker_errors

EPOCHS = 120
GATE_EPOCHS = 60
QUICK_EPOCHS = 3


@dataclass(frozen=True)
class Configuration:
    """How a gate that may ask every module is trained.

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


def plan(seeds: int, quick: bool, corpus: str = "announcers") -> list[Job]:
    """One job for each seed."""
    epochs = [QUICK_EPOCHS] * 2 if quick else [EPOCHS, GATE_EPOCHS]
    return [
        Job(f"seed_{seed}", {"corpus": corpus, "seed": seed, "epochs": epochs})
        for seed in range(seeds)
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains modules once and all gates over them; see ``borrow``."""
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    epochs, gate_epochs = settings["epochs"]
    return borrow(train, test, epochs, gate_epochs, settings["seed"])


def borrow(train: Tokens, test: Tokens, epochs: int, gate_epochs: int, seed: int) -> dict[str, Any]:
    """What a gate makes of each speaker, with and without his own module.

    Args:
        train: For training. Every gate hears all speakers, him too.
        test: For everything that is reported.
        epochs: Of the modules.
        gate_epochs: Of the gates.
        seed: Of initial weights and order.

    Returns:
        By speaker, errors in per cent: ``own`` (his module alone), ``with`` (a gate over all
        modules), ``without`` (a gate over the others'), ``others`` (the other speakers' error
        under that gate), ``best_other`` (the module of another speaker that does best alone);
        ``blend``: mean weights that replace his module. By configuration: ``own_share`` and
        ``errors`` of every speaker.
    """
    speakers = train.speakers
    count = len(speakers)
    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    said_train = outputs_of(modules, train.features)
    said = outputs_of(modules, test.features)  # (K, O, N, P)
    alone = torch.tensor(
        [list(speaker_errors(answer, test).values()) for answer in arbitrate(said, 1)]
    )  # (modules, speakers)

    gates = train_meta_pi(
        train,
        said_train,
        Schedule(gate_epochs, batch_size=64),
        seed,
        groups=one_group(train) * count,
        allowed=~torch.eye(count, dtype=torch.bool),
    )
    weights = gate_weights(gates, test.features, allowed=~torch.eye(count, dtype=torch.bool))
    without = [
        list(speaker_errors(answer, test).values()) for answer in arbitrate(blend(weights, said), 1)
    ]
    mixing = weights.mean(dim=1)  # (left out, N, K)

    configurations = {}
    for configuration in CONFIGURATIONS:
        schedule = Schedule(gate_epochs, configuration.learning_rate, batch_size=64)
        gate = train_meta_pi(train, said_train, schedule, seed, configuration.activation)
        asked = gate_weights(gate, test.features, configuration.activation)[0]  # (O, N, K)
        errors = speaker_errors(arbitrate(blend(asked, said), 0), test)
        shares = asked / asked.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        configurations[str(configuration)] = {
            "errors": errors,
            "own_share": _own_share(shares.mean(dim=0), test),
        }
    full = configurations[str(CONFIGURATIONS[0])]["errors"]
    return {
        "speakers": list(speakers),
        "own": dict(zip(speakers, alone.diag().tolist(), strict=True)),
        "with": full,
        "without": {name: without[k][k] for k, name in enumerate(speakers)},
        "others": {
            name: sum(e for j, e in enumerate(without[k]) if j != k) / (count - 1)
            for k, name in enumerate(speakers)
        },
        "best_other": {
            name: float(alone[torch.arange(count) != k, k].min()) for k, name in enumerate(speakers)
        },
        "blend": [mixing[k][test.speaker == k].mean(dim=0).tolist() for k in range(count)],
        "configurations": configurations,
    }


def _own_share(weights: Tensor, tokens: Tokens) -> dict[str, float]:
    """Mean weight of each speaker's own module on his tokens, 0..1."""
    own = weights[torch.arange(len(tokens)), tokens.speaker]
    return {name: float(own[tokens.speaker == k].mean()) for k, name in enumerate(tokens.speakers)}
