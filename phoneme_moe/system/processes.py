"""Processes that are started for parts of the work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_terminal_signals() -> Iterator[None]:
    """Processes started in the block do not receive Ctrl-C or the end of the terminal.

    Both reach all processes of a command at once; it is the first one that ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    # A new process inherits what is blocked, from its first moment on.
    blocked = {signal.SIGINT, signal.SIGHUP}
    former = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        # The process that multiprocessing starts first, after which it lets Ctrl-C through again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
