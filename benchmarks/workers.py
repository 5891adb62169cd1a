"""Processes of a benchmark that end when it is killed."""

from __future__ import annotations

import os
import threading
import time

import torch


def begin(threads: int) -> None:
    """What a worker process does first: so many threads, and an end with its parent.

    Whoever is killed outright cannot stop the workers; they would go on, and write into the folders
    of the next try.

    Args:
        threads: Of this process.
    """
    torch.set_num_threads(threads)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
