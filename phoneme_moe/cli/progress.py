"""A progress bar on stderr while a person watches; nothing for pipes and logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar for so many steps; what it gives is called after each.

    Args:
        what: What is being done.
        total: Steps; a single one has no bar.
    """
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Results above the bar where both are on the screen; a file gets its results itself.
    shared = sys.stdout.isatty()
    with Progress(
        console=Console(stderr=True), transient=True, redirect_stdout=shared, redirect_stderr=True
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """One line that says what is being done; what it gives is called when something begins."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console

    with Console(stderr=True).status("loading") as status:
        yield status.update
