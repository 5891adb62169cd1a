"""Work in two gloo processes that train together."""

from __future__ import annotations

import multiprocessing
import socket
import traceback
from collections.abc import Callable
from typing import Any

from torch import distributed
from waiting import exit_code

RANKS = 2
context = multiprocessing.get_context("spawn")


def on_two_ranks(work: Callable[[int], None]) -> None:
    """Calls a function of a module in two processes, with the rank of each; both must succeed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    errors = context.Queue()
    processes = [
        context.Process(target=_as_rank, args=(rank, port, work, errors)) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    codes = [exit_code(process) for process in processes]
    assert codes == [0, 0], "" if errors.empty() else errors.get()


def _as_rank(rank: int, port: int, work: Callable[[int], None], errors: Any) -> None:
    try:
        distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS
        )
        work(rank)
        distributed.destroy_process_group()
    except BaseException:
        errors.put(traceback.format_exc())
        raise
