"""The jobs: both tasks, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phoneme_moe.reproductions.ensembles import tokens_task, vowels_task
from phoneme_moe.reproductions.experiment import Job
from phoneme_moe.reproductions.tokens import load_tokens

EPOCHS, QUICK_EPOCHS = 120, 1
STEPS, QUICK_STEPS = 2000, 100
TASKS = {"tokens": "six announcers, /b d g/", "vowels": "ten vowels, new speakers"}


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each task and seed."""
    lengths = {"tokens": EPOCHS, "vowels": STEPS}
    extra: dict[str, Any] = {}
    if quick:
        lengths, extra = {"tokens": QUICK_EPOCHS, "vowels": QUICK_STEPS}, {"hurried": True}
    return [
        Job(f"{task}_seed_{seed}", {"task": task, "seed": seed, "length": lengths[task], **extra})
        for seed in range(seeds)
        for task in TASKS
    ]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All systems of a task once: error in per cent and cost, by system."""
    length, seed, hurried = settings["length"], settings["seed"], settings.get("hurried", False)
    if settings["task"] == "vowels":
        return vowels_task.compare(length, seed, hurried)
    train, test = (load_tokens("announcers", split) for split in ("train", "test"))
    return tokens_task.compare(train, test, length, seed, hurried)
