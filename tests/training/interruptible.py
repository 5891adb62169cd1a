"""Training in a process of its own that is killed at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from waiting import exit_code

#: Imports torch and lightning once; its children start from there in no time.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["phoneme_moe.training.stages", "phoneme_moe.pipeline"])


def train_until(recipe: Path, folder: Path, data: str, write: int | None, after: bool) -> None:
    """Trains, resuming what is there; kills itself before or after the given write of a file."""
    import torch

    from phoneme_moe.pipeline import train

    torch.set_num_threads(1)
    os.environ["PHONEME_MOE_DATA"] = data
    replace = Path.replace
    writes = 0

    def replace_or_die(self: Path, target: Path) -> Path:
        nonlocal writes
        writes += 1
        if writes == write and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = replace(self, target)
        if writes == write:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Path.replace = replace_or_die  # type: ignore[method-assign, assignment]
    train(recipe, folder, resume=folder.exists() and any(folder.iterdir()), device="cpu")


def run_once(recipe: Path, folder: Path, write: int | None, after: bool) -> int:
    """Exit code of one try: 0 when training ended, -9 when it was killed."""
    data = os.environ["PHONEME_MOE_DATA"]
    process = context.Process(target=train_until, args=(recipe, folder, data, write, after))
    process.start()
    return exit_code(process)
