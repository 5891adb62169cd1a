"""Gates over all modules, and over all but a speaker's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe.reproductions.multi_speaker import (
    arbitrate,
    by_speaker,
    one_group,
    outputs_of,
    train_nets,
)
from phoneme_moe.reproductions.tokens import Tokens, load_tokens, speaker_errors
from phoneme_moe.training.minibatch import Schedule

EPOCHS = 120
GATE_EPOCHS = 60
EARLY_EPOCHS, EARLY_GATE_EPOCHS = 40, 20
"""Of modules that are not finished, and of gates over them."""

DIGIT_EPOCHS = [60, 30], [20, 10]
"""The same for real digits, whose tokens and phonemes are more: of modules and gates, finished and
not."""

QUICK_EPOCHS = 1


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
    """Two jobs for each seed: all of it, and gates over modules that are not finished."""
    lengths = [EPOCHS, GATE_EPOCHS], [EARLY_EPOCHS, EARLY_GATE_EPOCHS]
    if corpus != "announcers":
        lengths = DIGIT_EPOCHS
    whole, early = ([QUICK_EPOCHS] * 2, [QUICK_EPOCHS] * 2) if quick else lengths
    jobs = []
    for seed in range(seeds):
        settings = {"corpus": corpus, "seed": seed}
        jobs.append(Job(f"seed_{seed}", {**settings, "epochs": whole}))
        jobs.append(Job(f"early_seed_{seed}", {**settings, "epochs": early, "early": True}))
    return jobs


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains modules once and gates over them; see ``borrow`` and ``left_alone``."""
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    (epochs, gate_epochs), seed = settings["epochs"], settings["seed"]
    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    said_train, said = (outputs_of(modules, tokens.features) for tokens in (train, test))
    alone = left_alone(train, test, said_train, said, gate_epochs, seed)
    if settings.get("early"):
        return {"configurations": alone, "own": own_errors(said, test)}
    return borrow(train, test, said_train, said, gate_epochs, seed) | {"configurations": alone}


def own_errors(said: Tensor, test: Tokens) -> dict[str, float]:
    """Error in per cent of each speaker by his own module.

    Args:
        said: Of all modules, shape (modules, objectives, tokens, classes).
        test: The tokens.
    """
    answers = arbitrate(said, 1)  # (K, N, P)
    return speaker_errors(answers[test.speaker, torch.arange(len(test))], test)


def left_alone(
    train: Tokens, test: Tokens, said_train: Tensor, said: Tensor, epochs: int, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Gates over all modules, by configuration: ``errors`` and ``own_share`` of every speaker.

    Arguments as of ``borrow``.
    """
    found = {}
    for configuration in CONFIGURATIONS:
        schedule = Schedule(epochs, configuration.learning_rate, batch_size=64)
        gate = train_meta_pi(train, said_train, schedule, seed, configuration.activation)
        asked = gate_weights(gate, test.features, configuration.activation)[0]  # (O, N, K)
        errors = speaker_errors(arbitrate(blend(asked, said), 0), test)
        shares = asked / asked.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        found[str(configuration)] = {
            "errors": errors,
            "own_share": _own_share(shares.mean(dim=0), test),
        }
    return found


def borrow(
    train: Tokens, test: Tokens, said_train: Tensor, said: Tensor, epochs: int, seed: int
) -> dict[str, Any]:
    """What a gate makes of each speaker when his own module is removed.

    Args:
        train: For training. Every gate hears all speakers, him too.
        test: For everything that is reported.
        said_train: What the modules say of the training tokens, shape (modules, objectives,
            tokens, classes).
        said: What they say of the test tokens.
        epochs: Of the gates.
        seed: Of initial weights and order.

    Returns:
        By speaker, errors in per cent: ``own`` (his module alone), ``without`` (a gate over the
        others'), ``others`` (the other speakers' error under that gate), ``best_other`` (the
        module of another speaker that does best alone); ``blend``: mean weights that replace his
        module.
    """
    speakers = train.speakers
    count = len(speakers)
    alone = torch.tensor(
        [list(speaker_errors(answer, test).values()) for answer in arbitrate(said, 1)]
    )  # (modules, speakers)
    others = ~torch.eye(count, dtype=torch.bool)
    gates = train_meta_pi(
        train,
        said_train,
        Schedule(epochs, batch_size=64),
        seed,
        groups=one_group(train) * count,
        allowed=others,
    )
    weights = gate_weights(gates, test.features, allowed=others)
    without = [
        list(speaker_errors(answer, test).values()) for answer in arbitrate(blend(weights, said), 1)
    ]
    mixing = weights.mean(dim=1)  # (left out, N, K)
    return {
        "speakers": list(speakers),
        "own": own_errors(said, test),
        "without": {name: without[k][k] for k, name in enumerate(speakers)},
        "others": {
            name: sum(e for j, e in enumerate(without[k]) if j != k) / (count - 1)
            for k, name in enumerate(speakers)
        },
        "best_other": {name: float(alone[others[k], k].min()) for k, name in enumerate(speakers)},
        "blend": [mixing[k][test.speaker == k].mean(dim=0).tolist() for k in range(count)],
    }


def _own_share(weights: Tensor, tokens: Tokens) -> dict[str, float]:
    """Mean weight of each speaker's own module on his tokens, 0..1."""
    own = weights[torch.arange(len(tokens)), tokens.speaker]
    return {name: float(own[tokens.speaker == k].mean()) for k, name in enumerate(tokens.speakers)}
