"""The jobs: both tasks, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phoneme_moe.reproduce.ensembles import tokens_task, vowels_task
from phoneme_moe.reproduce.experiment import Job
from phoneme_moe.reproduce.tokens import load_tokens

EPOCHS, QUICK_EPOCHS = 120, 2
STEPS, QUICK_STEPS = 2000, 100
TASKS = {"tokens": "six announcers, /b d g/", "vowels": "ten vowels, new speakers"}


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each task and seed."""
    lengths = {"tokens": QUICK_EPOCHS, "vowels": QUICK_STEPS}
    if not quick:
        lengths = {"tokens": EPOCHS, "vowels": STEPS}
    return [
        Job(f"{task}_seed_{seed}", {"task": task, "seed": seed, "length": lengths[task]})
        for seed in range(seeds)
        for task in TASKS
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All systems of a task once: error in per cent and cost, by system."""
    length, seed = settings["length"], settings["seed"]
    if settings["task"] == "vowels":
        return vowels_task.compare(length, seed)
    train, test = (load_tokens("announcers", split) for split in ("train", "test"))
    return tokens_task.compare(train, test, length, seed)
