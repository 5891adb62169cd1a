"""A speaker nobody has heard, and a few of his tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe.reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    class_targets,
    outputs_of,
    shown,
    sum_of_objectives,
    train_nets,
)
from phoneme_moe.reproductions.tokens import Tokens, load_tokens, speaker_errors
from phoneme_moe.training.minibatch import Schedule, fit

SIZES = (1, 2, 5, 10, 25)
"""Tokens of each phoneme that are heard of the new speaker; the paper has 5."""

EPOCHS = 120
GATE_EPOCHS = 60
DIGIT_EPOCHS = [60, 30]
"""The same for real digits, whose tokens and phonemes are more."""

QUICK_EPOCHS = 1
REHEARSED = 768
"""Tokens of the old speakers that a gate hears again while it adapts, as many as new ones: without
them it forgets whom it knew."""

GATE_ADAPTATION = Schedule(epochs=10, learning_rate=0.02, batch_size=192)
EXPERT_ADAPTATION = Schedule(epochs=60, learning_rate=0.02, batch_size=64)
ADAPTATION = GATE_ADAPTATION, EXPERT_ADAPTATION


def plan(seeds: int, quick: bool, corpus: str = "announcers") -> list[Job]:
    """One job for each seed, of all speakers in turn."""
    epochs = [EPOCHS, GATE_EPOCHS] if corpus == "announcers" else DIGIT_EPOCHS
    epochs = [QUICK_EPOCHS] * 2 if quick else epochs
    extra = {"hurried": True} if quick else {}
    return [
        Job(f"seed_{seed}", {"corpus": corpus, "seed": seed, "epochs": epochs, **extra})
        for seed in range(seeds)
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains once, then adapts to every speaker as if he were new; see ``adapt_to_all``."""
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    epochs, gate_epochs = settings["epochs"]
    adaptation = (
        tuple(replace(schedule, epochs=1) for schedule in ADAPTATION)
        if settings.get("hurried")
        else ADAPTATION
    )
    return adapt_to_all(train, test, epochs, gate_epochs, settings["seed"], *adaptation)


def adapt_to_all(
    train: Tokens,
    test: Tokens,
    epochs: int,
    gate_epochs: int,
    seed: int,
    adapt_gate: Schedule = GATE_ADAPTATION,
    adapt_expert: Schedule = EXPERT_ADAPTATION,
) -> dict[str, Any]:
    """Leaves each speaker out and adapts to him from a few tokens, all side by side.

    Args:
        train: For training; the tokens for adaptation are drawn from it too.
        test: For everything that is reported.
        epochs: Of the modules.
        gate_epochs: Of the gates of those who were heard.
        seed: Of initial weights, order and the draw of tokens.
        adapt_gate: How a gate learns from the new tokens.
        adapt_expert: How a new expert does.

    Returns:
        By speaker, errors in per cent: ``none`` (nothing adapted), ``own`` (his own module, of all
        his training tokens), ``gate`` and ``expert`` (a list for ``SIZES``); the mean error of the
        others before and after: ``old``, ``old_gate``, ``old_expert``; and ``source``, the module
        that the new expert of most tokens began as.
    """
    speakers, count = train.speakers, len(train.speakers)
    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    said_train = outputs_of(modules, train.features)
    said = outputs_of(modules, test.features)  # (K, O, N, P)
    others = ~torch.eye(count, dtype=torch.bool)
    gates = train_meta_pi(
        train,
        said_train,
        Schedule(gate_epochs, batch_size=64),
        seed,
        groups=[(train.speaker != k).nonzero()[:, 0] for k in range(count)],
        allowed=others,
    )
    generator = torch.Generator().manual_seed(seed)
    new = [draw(train, k, size, generator) for k in range(count) for size in SIZES]
    of_speaker = torch.arange(count).repeat_interleave(len(SIZES))  # (G,)
    lessons = [
        rehearsal(train, int(k), own, generator) for k, own in zip(of_speaker, new, strict=True)
    ]
    net_numbers = _nets(of_speaker)

    gate_only = train_meta_pi(
        train,
        said_train,
        adapt_gate,
        seed,
        groups=lessons,
        allowed=others[of_speaker],
        start=take(gates, net_numbers),
    )

    closest = _most_asked(gates, train, new, of_speaker, others)  # (G,)
    experts = adapt_modules(train, take(modules, _nets(closest)), new, adapt_expert, seed)
    with_expert = take(gates, net_numbers)
    copy_output(with_expert, closest, of_speaker)
    train_meta_pi(
        train,
        with_new(said_train, outputs_of(experts, train.features), of_speaker),
        adapt_gate,
        seed,
        groups=lessons,
        start=with_expert,
    )

    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(speakers):
        rows = (of_speaker == k).nonzero()[:, 0]
        before = _errors(take(gates, _nets([k])), test, said[None], others[k][None])[0]
        gate = _errors(take(gate_only, _nets(rows)), test, said[None], others[of_speaker[rows]])
        known = with_new(
            said, outputs_of(take(experts, _nets(rows)), test.features), of_speaker[rows]
        )
        expert = _errors(take(with_expert, _nets(rows)), test, known, None)
        found[name] = {
            "none": before[k],
            "own": speaker_errors(arbitrate(said[k], 0), test)[name],
            "gate": [errors[k] for errors in gate],
            "expert": [errors[k] for errors in expert],
            "old": _mean_of_others(before, k),
            "old_gate": [_mean_of_others(errors, k) for errors in gate],
            "old_expert": [_mean_of_others(errors, k) for errors in expert],
            "source": speakers[int(closest[rows[-1]])],
        }
    return found


def draw(tokens: Tokens, speaker: int, size: int, generator: torch.Generator) -> Tensor:
    """Numbers of some tokens of a speaker, equally many of each phoneme he says."""
    chosen = []
    for phoneme in range(len(tokens.phonemes)):
        own = ((tokens.speaker == speaker) & (tokens.phoneme == phoneme)).nonzero()[:, 0]
        chosen.append(own[torch.randperm(len(own), generator=generator)[:size]])
    return torch.cat(chosen)


def rehearsal(tokens: Tokens, speaker: int, new: Tensor, generator: torch.Generator) -> Tensor:
    """A lesson for a gate: the new speaker's tokens again and again, and as many of the others."""
    old = (tokens.speaker != speaker).nonzero()[:, 0]
    old = old[torch.randperm(len(old), generator=generator)[:REHEARSED]]
    repeated = new.repeat(-(-len(old) // len(new)))[: max(len(old), len(new))]
    return torch.cat([repeated, old])


def adapt_modules(
    tokens: Tokens,
    modules: TokenTDNN,
    groups: Sequence[Tensor],
    schedule: Schedule,
    seed: int,
) -> TokenTDNN:
    """Trains modules on, each on a few tokens of a new speaker.

    Args:
        tokens: To choose from.
        modules: The nets of each group's module, changed in place.
        groups: The tokens of each.
        schedule: How.
        seed: Of the order.
    """
    targets = class_targets(tokens)
    longest = max(len(group) for group in groups)
    # Equally many steps for all: a group of few tokens sees them the more often.
    even = [group.repeat(-(-longest // len(group)))[:longest] for group in groups]

    def loss(chosen: Tensor) -> Tensor:
        seen = shown(tokens, chosen).repeat_interleave(len(OBJECTIVES), dim=0)
        outputs = torch.sigmoid(modules(seen, None)[:, :, 0])
        outputs = outputs.view(len(groups), len(OBJECTIVES), *outputs.shape[1:])
        return sum_of_objectives(outputs, targets[chosen], OBJECTIVES)

    fit(modules.parameters(), even, loss, schedule, seed)
    return modules


def with_new(said: Tensor, new: Tensor, place: Tensor) -> Tensor:
    """What each group's modules say when one of them is replaced.

    Args:
        said: Of the old modules, shape (modules, objectives, tokens, classes).
        new: Of each group's new one, shape (groups, objectives, tokens, classes).
        place: Where it stands, shape (groups,).

    Returns:
        Shape (groups, modules, objectives, tokens, classes).
    """
    together = said.expand(len(new), *said.shape).clone()
    together[torch.arange(len(new)), place] = new
    return together


@torch.no_grad()
def copy_output(gates: TokenTDNN, source: Tensor, place: Tensor) -> None:
    """Gives a module that a gate did not know the scores of one that it knows, in place.

    Args:
        gates: A net for each group and objective inside.
        source: The module whose scores are copied, shape (groups,).
        place: The one that gets them, shape (groups,).
    """
    source, place = (m.repeat_interleave(len(OBJECTIVES)) for m in (source, place))
    net = torch.arange(len(source))
    if gates.row_per_class:
        columns = [*gates.hidden2.parameters(), gates.output_weight, gates.output_bias]
    else:
        columns = list(gates.output.parameters())
    for parameter in columns:
        parameter[net, :, place] = parameter[net, :, source]


def _nets(groups: Sequence[int] | Tensor) -> list[int]:
    """Numbers of all objectives' nets of some groups."""
    count = len(OBJECTIVES)
    return [int(group) * count + i for group in groups for i in range(count)]


def _most_asked(
    gates: TokenTDNN, tokens: Tokens, new: Sequence[Tensor], of_speaker: Tensor, allowed: Tensor
) -> Tensor:
    """The module that each group's gate asks most for the new tokens, shape (groups,)."""
    found = []
    for k, own in zip(of_speaker.tolist(), new, strict=True):
        gate = take(gates, _nets([k]))
        asked = gate_weights(gate, tokens.features[own], allowed=allowed[k][None])
        found.append(int(asked.mean(dim=(0, 1, 2)).argmax()))
    return torch.tensor(found)


def _errors(
    gates: TokenTDNN, test: Tokens, said: Tensor, allowed: Tensor | None
) -> list[list[float]]:
    """Errors of every speaker in per cent, a row for each gate.

    Args:
        gates: A net for each group and objective inside.
        test: Tokens.
        said: What the modules say, shape (groups or 1, modules, objectives, tokens, classes).
        allowed: As in ``gating.scores_of``.
    """
    weights = gate_weights(gates, test.features, allowed=allowed)  # (G, O, N, K)
    rows = []
    for number, own in enumerate(weights):
        answer = arbitrate(blend(own, said[number if len(said) > 1 else 0]), 0)
        rows.append(list(speaker_errors(answer, test).values()))
    return rows


def _mean_of_others(errors: Sequence[float], speaker: int) -> float:
    return sum(e for k, e in enumerate(errors) if k != speaker) / (len(errors) - 1)
