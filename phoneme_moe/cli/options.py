"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Beam = Annotated[
    int | None, typer.Option(min=0, help="Beam search with the run's n-gram; 0 for none.")
]
OnlyExpert = Annotated[
    str | None, typer.Option(help="Ask these experts alone (names with commas between).")
]
WithoutExpert = Annotated[str | None, typer.Option(help="Do not ask these.")]
GateFrom = Annotated[str | None, typer.Option(help="A speaker's mean gate weights, or uniform.")]
OverrideLayer = Annotated[
    str | None, typer.Option(help="The sparse layer whose experts are meant; all alike.")
]


def named_path(text: str) -> Path:
    """A path with a name; an empty one, as of a variable that is not set, would be this folder.

    Raises:
        typer.BadParameter: It has none.
    """
    if not text:
        raise typer.BadParameter(
            "found an empty name, expected an audio file, a folder, a pattern or -"
        )
    return Path(text)
