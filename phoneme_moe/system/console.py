"""The console of ``rich`` for text that comes from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from phoneme_moe.system.terminal import printable


class PlainConsole(Console):
    """A console that shows text as it is: ``[bold]`` and ``:smile:`` in a name mean nothing.

    Characters that control a terminal are escaped (``printable``).
    """

    def __init__(self, **options: Any) -> None:
        """Options as in ``rich.console.Console``."""
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text, escaped before its width is measured."""
        return super().render_str(printable(text, keep="\n"), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable; those that ``rich`` itself sends to the terminal stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)
