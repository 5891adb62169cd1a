"""Tables of notations: text files with two columns, separated by a tab."""

from __future__ import annotations

import functools
from importlib.resources import files


@functools.cache
def read_symbol_table(package: str, name: str) -> dict[str, str]:
    """Reads ``tables/NAME.tsv`` of a package; lines that begin with ``#`` and a space are comments.

    Args:
        package: The package with the folder ``tables``.
        name: Name of the table.
    """
    text = files(package).joinpath("tables", f"{name}.tsv").read_text("utf-8")
    return dict(line.split("\t") for line in text.splitlines() if not line.startswith("# "))
