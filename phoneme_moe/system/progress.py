"""Progress bars on stderr, shown on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def track(
    items: Iterable[Item], what: str, shown: bool = True, total: int | None = None
) -> Iterator[Item]:
    """Yields items and shows a bar of how many have been processed.

    Args:
        items: The items.
        what: Description shown beside the bar.
        shown: Whether to show a bar.
        total: Number of items; ``len(items)`` by default.
    """
    from rich.progress import track as rich_track

    from phoneme_moe.system.console import PlainConsole

    console = PlainConsole(stderr=True)
    yield from rich_track(
        items,
        description=what,
        total=total,
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows a bar of ``total`` steps; the yielded function advances it.

    It takes the number of steps (1) and a note to show after the description.

    Args:
        what: Description shown beside the bar.
        total: Number of steps; no bar is shown for a single one.
    """
    if total < 2 or not sys.stderr.isatty():
        yield lambda steps=1, note="": None
        return
    from rich.progress import Progress

    from phoneme_moe.system.console import PlainConsole

    # Results appear above the bar where both go to the terminal.
    shared = sys.stdout.isatty()
    with Progress(
        console=PlainConsole(stderr=True),
        transient=True,
        redirect_stdout=shared,
        redirect_stderr=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps=1, note="": bar.update(
            task, advance=steps, description=f"{what} {note}".rstrip()
        )


@contextmanager
def byte_bar(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Shows how many of so many bytes are done, and how fast; the yielded function sets them.

    Args:
        what: Description shown beside the bar.
        total: Number of bytes.
        shown: Whether to show a bar.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from phoneme_moe.system.console import PlainConsole

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=PlainConsole(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Shows a line with the current step; the yielded function replaces its text."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from phoneme_moe.system.console import PlainConsole

    with PlainConsole(stderr=True).status("loading") as status:
        yield status.update
