from __future__ import annotations

import multiprocessing
import signal
import sys

import pytest

from phoneme_moe.system.processes import without_terminal_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has fewer signals")


def _blocked(answer: object) -> None:
    answer.send(signal.pthread_sigmask(signal.SIG_BLOCK, ()))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_only_what_is_started_in_the_block_is_deaf() -> None:
    context = multiprocessing.get_context("spawn")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    found = []
    for _ in range(2):  # the first one is started after a process of multiprocessing's own
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_blocked, args=(sender,))
        with without_terminal_signals():
            process.start()
        found.append(receiver.recv())
        process.join()
    assert found == [{signal.SIGINT, signal.SIGHUP}] * 2
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
