"""Tables 2 and 4 as jobs: runs on everybody, and runs tested on other speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.nowlan_hinton_1991.references import gaussians_by_speaker
from phoneme_moe.reproductions.nowlan_hinton_1991.systems import (
    LOOK_EVERY,
    SYSTEMS,
    System,
    Task,
    build,
    mistakes,
    mistakes_of_chosen,
    train,
)
from phoneme_moe.reproductions.nowlan_hinton_1991.tokens import (
    HELD_OUT,
    SIDES,
    TEST,
    TRAIN,
    divide,
    standardised,
    tokens,
)

ITERATIONS = 300
QUICK_ITERATIONS = 60
SPLITS = 20
TRIAL_RUNS = 5
CLUSTERS = 10


def job_key(name: str, side: str, table: int) -> str:
    """Of the job that trains a system on a side input for a table."""
    return f"{name.replace(', ', '_').replace(' ', '_')}_{side}_table_{table}"


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each system, side input and table, and one for the references."""
    iterations = QUICK_ITERATIONS if quick else ITERATIONS
    splits = min(seeds, SPLITS)
    jobs = []
    for side in SIDES:
        for name, system in SYSTEMS.items():
            for table in system.tables:
                if table == 4 and side == "speaker" and not system.mixture:
                    continue  # a net has no input for a speaker it does not know
                runs = splits if table == 4 else seeds
                if system.tables == (2,):
                    runs = min(runs, TRIAL_RUNS)
                settings = {"system": name, "side": side, "table": table, "runs": runs}
                jobs.append(Job(job_key(name, side, table), {**settings, "iterations": iterations}))
    return [*jobs, Job("references", {"system": "references", "runs": splits})]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains a system on everybody (Table 2), or on splits of the speakers (Table 4)."""
    if settings["system"] == "references":
        return references(settings["runs"])
    system, side = SYSTEMS[settings["system"]], settings["side"]
    task = build(system, side)
    if settings["table"] == 2:
        return on_everybody(system, task, side, settings["runs"], settings["iterations"])
    return on_splits(system, task, side, settings["runs"], settings["iterations"])


def on_everybody(
    system: System, task: Task, side: str, runs: int, iterations: int
) -> dict[str, Any]:
    """Trains runs of different first weights on all speakers.

    Returns:
        For each run: ``train``, the error in per cent; ``loss``; and of a mixture that is told
        the speaker ``experts``, the one with the largest proportion for each speaker.
    """
    cases = tokens()
    seen, loss = train(system, task, torch.ones(runs, len(cases.vowel)), iterations)
    found: dict[str, Any] = {
        "train": _per_cent(mistakes(task, seen[-1]), torch.ones(len(cases.vowel))).tolist(),
        "loss": loss.tolist(),
    }
    if system.mixture and side == "speaker":
        with torch.no_grad():
            log_weights, _ = task.shape(seen[-1], task.inputs, task.gate_inputs)
        own = [int((cases.speaker == s).nonzero()[0]) for s in range(len(cases.group))]
        found["experts"] = log_weights[:, own].argmax(dim=-1).tolist()
    return found


def on_splits(system: System, task: Task, side: str, runs: int, iterations: int) -> dict[str, Any]:
    """Trains runs on different speakers and tests each on others.

    How long to train is found with some training speakers held out, for each split by itself;
    then training begins anew with all of them. What is trained by L-BFGS goes on to the end.

    Returns:
        For each split: ``test`` and ``train``, errors in per cent after as many ``iterations`` as
        were found best, and ``test_end``, that after all of them. With the speaker's identity also
        ``test_known``: as ``test``, had the expert been chosen by all tokens of the speaker.
    """
    cases = tokens()
    parts = torch.tensor(np.stack([divide(split, side) for split in range(runs)]))
    counted = torch.ones(parts.shape)
    wrong: Callable[[Task, Tensor], Tensor] = mistakes
    if side == "speaker":
        counted[:, cases.introduction.flatten()] = 0
        wrong = partial(mistakes_of_chosen, known_by=cases.introduction)
    held_out = (parts == HELD_OUT) * counted
    test = (parts == TEST) * counted
    best = torch.zeros(runs, dtype=torch.long)
    if not system.quasi_newton:
        seen, _ = train(system, task, (parts == TRAIN).float(), iterations)
        best = torch.stack([_per_cent(wrong(task, rows), held_out) for rows in seen]).argmin(dim=0)
    seen, _ = train(system, task, (parts != TEST).float(), iterations)
    rows = torch.stack([seen[place][split] for split, place in enumerate(best.tolist())])
    taken = (best + 1) * (LOOK_EVERY if len(seen) > 1 else iterations)
    found = {
        "iterations": taken.tolist(),
        "train": _per_cent(mistakes(task, rows), (parts != TEST).float()).tolist(),
        "test": _per_cent(wrong(task, rows), test).tolist(),
        "test_end": _per_cent(wrong(task, seen[-1]), test).tolist(),
    }
    if side == "speaker":
        all_tokens = cases.speaker.argsort(stable=True).reshape(len(cases.group), -1)
        known = mistakes_of_chosen(task, rows, all_tokens)
        found["test_known"] = _per_cent(known, test).tolist()
    return found


def references(splits: int) -> dict[str, Any]:
    """Test errors in per cent of Gaussians by side input: what the measurements let one expect."""
    cases = tokens()
    formants, vowel = cases.formants.double().numpy(), cases.vowel.numpy()
    found = {}
    for side in SIDES:
        if side == "speaker":
            continue
        shown = None if side == "formants" else standardised(cases.side(side)).double().numpy()
        found[side] = [
            100 * float((said != vowel)[part == TEST].mean())
            for split in range(splits)
            for part in [divide(split, side)]
            for said in [gaussians_by_speaker(formants, shown, vowel, part != TEST, CLUSTERS)]
        ]
    return found


def _per_cent(wrong: Tensor, weights: Tensor) -> Tensor:
    """Of each run; weights have shape (runs, cases) or (cases,)."""
    weights = weights.expand(wrong.shape)
    return 100 * (wrong * weights).sum(dim=1) / weights.sum(dim=1)
