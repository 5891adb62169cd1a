"""Adaptation of gates and modules to an unseen speaker from a few tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from phoneme_moe.mixture.networks.tdnn_1989 import TokenTDNN, take
from phoneme_moe.training.minibatch import Schedule, fit
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.gating import blend, gate_weights, train_meta_pi
from phoneme_moe_reproductions.multi_speaker import (
    OBJECTIVES,
    arbitrate,
    by_speaker,
    class_targets,
    noisy_features,
    outputs_of,
    sum_of_objectives,
    train_nets,
)
from phoneme_moe_reproductions.tokens import Tokens, corpus_key, load_tokens, speaker_errors

SIZES = (1, 2, 5, 10, 25)
"""Adaptation tokens of each phoneme; the paper has 5."""

EPOCHS = 120
GATE_EPOCHS = 60
DIGIT_EPOCHS = [60, 30]
"""The same for real digits, which have more tokens and phonemes."""

QUICK_EPOCHS = 1
REHEARSED = 768
"""Tokens of the old speakers among those that a gate is adapted on, as many as new ones: without
them
it forgets the old speakers."""

GATE_ADAPTATION = Schedule(epochs=10, learning_rate=0.02, batch_size=192)
EXPERT_ADAPTATION = Schedule(epochs=60, learning_rate=0.02, batch_size=64)


def plan(seeds: int, quick: bool, digits: bool = False) -> list[Job]:
    """One job for each seed, of all speakers in turn."""
    corpus = corpus_key(digits, quick)
    epochs = DIGIT_EPOCHS if digits else [EPOCHS, GATE_EPOCHS]
    epochs = [QUICK_EPOCHS] * 2 if quick else epochs
    extra = {"hurried": True} if quick else {}
    return [
        Job(f"seed_{seed}", {"corpus": corpus, "seed": seed, "epochs": epochs, **extra})
        for seed in range(seeds)
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains modules, then adapts to every speaker in turn; see ``adapt_to_all``."""
    train, test = (load_tokens(settings["corpus"], split) for split in ("train", "test"))
    epochs, gate_epochs = settings["epochs"]
    adaptation = [GATE_ADAPTATION, EXPERT_ADAPTATION]
    if settings.get("hurried"):
        adaptation = [replace(schedule, epochs=1) for schedule in adaptation]
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
    """Leaves each speaker out and adapts to this speaker from a few tokens, all side by side.

    Args:
        train: For training; the tokens for adaptation are drawn from it too.
        test: For everything that is reported.
        epochs: Of the modules.
        gate_epochs: Of the gates before adaptation.
        seed: Of initial weights, order and the draw of tokens.
        adapt_gate: Schedule of a gate's adaptation.
        adapt_expert: Schedule of a new expert's training.

    Returns:
        By speaker, errors in per cent: ``none`` (nothing adapted), ``own`` (a module trained on all
        of the speaker's training tokens), ``gate`` and ``expert`` (a list for ``SIZES``); the mean
        error of the others before and after: ``old``, ``old_gate``, ``old_expert``; and ``source``,
        the module that the new expert of most tokens was copied from.
    """
    speakers, count = train.speakers, len(train.speakers)
    modules = train_nets(train, by_speaker(train), Schedule(epochs), seed)
    outputs_train = outputs_of(modules, train.features)
    outputs_test = outputs_of(modules, test.features)  # (K, O, N, P)
    others = ~torch.eye(count, dtype=torch.bool)
    gates = train_meta_pi(
        train,
        outputs_train,
        Schedule(gate_epochs, batch_size=64),
        seed,
        groups=[(train.speaker != k).nonzero()[:, 0] for k in range(count)],
        allowed=others,
    )
    generator = torch.Generator().manual_seed(seed)
    new = [draw_tokens(train, k, size, generator) for k in range(count) for size in SIZES]
    of_speaker = torch.arange(count).repeat_interleave(len(SIZES))  # (G,)
    with_rehearsal = [
        add_rehearsal(train, int(k), indices, generator)
        for k, indices in zip(of_speaker, new, strict=True)
    ]
    net_numbers = _nets(of_speaker)

    gate_only = train_meta_pi(
        train,
        outputs_train,
        adapt_gate,
        seed,
        groups=with_rehearsal,
        allowed=others[of_speaker],
        start=take(gates, net_numbers),
    )

    closest = _highest_weighted(gates, train, new, of_speaker, others)  # (G,)
    experts = adapt_modules(train, take(modules, _nets(closest)), new, adapt_expert, seed)
    with_expert = take(gates, net_numbers)
    copy_output(with_expert, closest, of_speaker)
    train_meta_pi(
        train,
        replace_module(outputs_train, outputs_of(experts, train.features), of_speaker),
        adapt_gate,
        seed,
        groups=with_rehearsal,
        start=with_expert,
    )

    results: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(speakers):
        rows = (of_speaker == k).nonzero()[:, 0]
        before = _errors(take(gates, _nets([k])), test, outputs_test[None], others[k][None])[0]
        gate = _errors(
            take(gate_only, _nets(rows)), test, outputs_test[None], others[of_speaker[rows]]
        )
        expert_outputs = outputs_of(take(experts, _nets(rows)), test.features)
        replaced = replace_module(outputs_test, expert_outputs, of_speaker[rows])
        expert = _errors(take(with_expert, _nets(rows)), test, replaced, None)
        results[name] = {
            "none": before[k],
            "own": speaker_errors(arbitrate(outputs_test[k], 0), test)[name],
            "gate": [errors[k] for errors in gate],
            "expert": [errors[k] for errors in expert],
            "old": _mean_of_others(before, k),
            "old_gate": [_mean_of_others(errors, k) for errors in gate],
            "old_expert": [_mean_of_others(errors, k) for errors in expert],
            "source": speakers[int(closest[rows[-1]])],
        }
    return results


def draw_tokens(tokens: Tokens, speaker: int, size: int, generator: torch.Generator) -> Tensor:
    """Indices of some tokens of a speaker, equally many of each phoneme."""
    chosen = []
    for phoneme in range(len(tokens.phonemes)):
        available = ((tokens.speaker == speaker) & (tokens.phoneme == phoneme)).nonzero()[:, 0]
        order = torch.randperm(len(available), generator=generator)
        chosen.append(available[order[:size]])
    return torch.cat(chosen)


def add_rehearsal(tokens: Tokens, speaker: int, new: Tensor, generator: torch.Generator) -> Tensor:
    """Indices for a gate's adaptation: the new tokens, repeated, and as many of other speakers."""
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
    """Fine-tunes modules, each on a few tokens of a new speaker.

    Args:
        tokens: To choose from.
        modules: The nets of each group's module, changed in place.
        groups: Indices of the tokens of each.
        schedule: Epochs, learning rate and batch size.
        seed: Of the order.
    """
    targets = class_targets(tokens)
    longest = max(len(group) for group in groups)
    # Equally many steps for all: the fewer tokens a group has, the more often each is used.
    even = [group.repeat(-(-longest // len(group)))[:longest] for group in groups]

    def loss(indices: Tensor) -> Tensor:
        features = noisy_features(tokens, indices).repeat_interleave(len(OBJECTIVES), dim=0)
        outputs = torch.sigmoid(modules(features, None)[:, :, 0])
        outputs = outputs.view(len(groups), len(OBJECTIVES), *outputs.shape[1:])
        return sum_of_objectives(outputs, targets[indices], OBJECTIVES)

    fit(modules.parameters(), even, loss, schedule, seed)
    return modules


def replace_module(outputs: Tensor, new: Tensor, place: Tensor) -> Tensor:
    """Outputs of each group's modules when one of them is replaced.

    Args:
        outputs: Of the old modules, shape (modules, objectives, tokens, classes).
        new: Of each group's new module, shape (groups, objectives, tokens, classes).
        place: Index of the replaced module, shape (groups,).

    Returns:
        Shape (groups, modules, objectives, tokens, classes).
    """
    together = outputs.expand(len(new), *outputs.shape).clone()
    together[torch.arange(len(new)), place] = new
    return together


@torch.no_grad()
def copy_output(gates: TokenTDNN, source: Tensor, place: Tensor) -> None:
    """Copies a gate's output weights of one module to another, in place.

    Args:
        gates: A net for each group and objective inside.
        source: The module whose output weights are copied, shape (groups,).
        place: The module that gets them, shape (groups,).
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
    """Indices of all objectives' nets of some groups."""
    count = len(OBJECTIVES)
    return [int(group) * count + i for group in groups for i in range(count)]


def _highest_weighted(
    gates: TokenTDNN, tokens: Tokens, new: Sequence[Tensor], of_speaker: Tensor, allowed: Tensor
) -> Tensor:
    """The module with the largest mean weight on each group's new tokens, shape (groups,)."""
    modules = []
    for k, indices in zip(of_speaker.tolist(), new, strict=True):
        gate = take(gates, _nets([k]))
        weights = gate_weights(gate, tokens.features[indices], allowed=allowed[k][None])
        modules.append(int(weights.mean(dim=(0, 1, 2)).argmax()))
    return torch.tensor(modules)


def _errors(
    gates: TokenTDNN, test: Tokens, outputs: Tensor, allowed: Tensor | None
) -> list[list[float]]:
    """Errors of every speaker in per cent, a row for each gate.

    Args:
        gates: A net for each group and objective inside.
        test: Tokens.
        outputs: Of the modules, shape (groups or 1, modules, objectives, tokens, classes).
        allowed: As in ``gating.scores_of``.
    """
    weights = gate_weights(gates, test.features, allowed=allowed)  # (G, O, N, K)
    rows = []
    for gate, of_group in zip(
        weights, outputs.expand(len(weights), *outputs.shape[1:]), strict=True
    ):
        scores = arbitrate(blend(gate, of_group), 0)
        rows.append(list(speaker_errors(scores, test).values()))
    return rows


def _mean_of_others(errors: Sequence[float], speaker: int) -> float:
    return sum(e for k, e in enumerate(errors) if k != speaker) / (len(errors) - 1)
