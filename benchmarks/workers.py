"""Worker processes that end with their benchmark."""

from __future__ import annotations

import os
import threading
import time

import torch


def begin(threads: int) -> None:
    """Initialises a worker process: number of threads, and an end with its parent.

    A benchmark that is killed cannot stop its workers; they would continue to write into the
    folders of the next one.

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
