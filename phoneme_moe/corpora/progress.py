"""A progress bar on stderr, for people who watch; nothing for pipes and logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def follow(
    items: Iterable[Item], what: str, shown: bool, total: int | None = None
) -> Iterator[Item]:
    """Passes the items on and moves a progress bar along.

    Args:
        items: What is worked through.
        what: What the bar says is being done.
        shown: Whether a bar is wanted at all.
        total: How many items will come, if ``len(items)`` does not say.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        items,
        description=what,
        total=total,
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
